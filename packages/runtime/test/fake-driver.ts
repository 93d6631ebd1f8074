/** @file A CUDA driver made of functions, for what cannot be had here: old drivers, full memory. */
import type { CValue, Native, NativeFunction } from "../src/native.ts";

type Fake = (...args: CValue[]) => number;

const writeInt = (to: CValue | undefined, value: number): number => {
  if (!(to instanceof Int32Array)) throw new Error("expected an Int32Array to write to");
  to[0] = value;
  return 0;
};

const writeBig = (to: CValue | undefined, value: bigint): number => {
  if (!(to instanceof BigUint64Array)) throw new Error("expected a BigUint64Array to write to");
  to[0] = value;
  return 0;
};

/** An H200 with `freeBytes` of memory; calls that are not faked fail the test by name. */
export function fakeFunctions(options: {
  readonly version?: number;
  readonly devices?: number;
  readonly freeBytes?: bigint;
}): Record<string, Fake> {
  const { version = 13_000, devices = 1, freeBytes = 1n << 30n } = options;
  const attributes: Record<number, number> = {
    16: 132, 38: 50 << 20, 75: 9, 76: 0, 95: 1, 97: 232_448,
  };
  let next = 0x1000n;
  const handle: Fake = (to) => writeBig(to, (next += 0x1000n));
  return {
    cuDriverGetVersion: (to) => writeInt(to, version),
    cuInit: () => (devices === 0 ? 100 : 0),
    cuGetErrorName: (code, to) => writeBig(to, BigInt(Number(code))),
    cuGetErrorString: (_, to) => writeBig(to, 9999n),
    cuDeviceGetCount: (to) => writeInt(to, devices),
    cuDeviceGet: (to, ordinal) => writeInt(to, Number(ordinal)),
    cuDeviceGetName: (to) => (new TextEncoder().encodeInto("Fake H200", to as Uint8Array), 0),
    cuDeviceTotalMem_v2: (to) => writeBig(to, 140n << 30n),
    cuDeviceGetAttribute: (to, id) => writeInt(to, attributes[Number(id)] ?? -1),
    cuDevicePrimaryCtxRetain: handle,
    cuDevicePrimaryCtxRelease_v2: () => 0,
    cuCtxSetCurrent: () => 0,
    cuMemGetInfo_v2: (free, total) => writeBig(free, freeBytes) + writeBig(total, 140n << 30n),
    cuMemAlloc_v2: (to, bytes) => (BigInt(Number(bytes)) > freeBytes ? 2 : handle(to ?? null)),
    cuMemFree_v2: () => 0,
    cuEventCreate: handle,
    cuEventDestroy_v2: () => 0,
    cuEventQuery: () => 700,
  };
}

const errorNames: Record<number, string> = {
  2: "CUDA_ERROR_OUT_OF_MEMORY",
  100: "CUDA_ERROR_NO_DEVICE",
  700: "CUDA_ERROR_ILLEGAL_ADDRESS",
  9999: "as the driver describes it",
};

/** A `Native` whose only library is the fake driver; null: not even that. */
export function fakeNative(functions: Readonly<Record<string, Fake>> | null): Native {
  return {
    load: (paths) => {
      const path = paths.find((each) => each.includes("libcuda"));
      if (functions === null || path === undefined) return { library: null, failures: ["none"] };
      const func = (name: string): NativeFunction => {
        const fake = functions[name];
        if (fake === undefined) throw new Error(`${name} is not faked`);
        return Object.assign(fake, { async: async (...args: CValue[]) => fake(...args) });
      };
      return { library: { path, func }, failures: [] };
    },
    view: (_, bytes) => new Uint8Array(bytes),
    addressOf: () => 1n,
    stringAt: (address) => errorNames[Number(address)] ?? "CUDA_ERROR_UNKNOWN",
    errno: () => 0,
  };
}
