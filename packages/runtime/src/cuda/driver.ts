/** @file The CUDA driver API, as much of it as is used, with errors that say what to do. */
import { environmentError, messageOf, MpkError } from "../errors.ts";
import { loadNative } from "../native.ts";
import type { CType, CValue, Native, NativeFunction } from "../native.ts";
import { driverPaths, type Environment } from "./libraries.ts";
import { adviceOn, CuResult } from "./results.ts";

export { CuResult } from "./results.ts";

/** Argument types of every driver call used here; each returns a CUresult. */
const calls = {
  cuInit: ["uint"],
  cuDriverGetVersion: ["void *"],
  cuDeviceGetCount: ["void *"],
  cuDeviceGet: ["void *", "int"],
  cuDeviceGetName: ["void *", "int", "int"],
  cuDeviceGetAttribute: ["void *", "int", "int"],
  cuDeviceGetUuid_v2: ["void *", "int"],
  cuDeviceTotalMem_v2: ["void *", "int"],
  cuDevicePrimaryCtxRetain: ["void *", "int"],
  cuDevicePrimaryCtxRelease_v2: ["int"],
  cuCtxSetCurrent: ["uintptr_t"],
  cuMemGetInfo_v2: ["void *", "void *"],
  cuMemAlloc_v2: ["void *", "size_t"],
  cuMemFree_v2: ["uint64_t"],
  cuMemHostAlloc: ["void *", "size_t", "uint"],
  cuMemHostGetDevicePointer_v2: ["void *", "uintptr_t", "uint"],
  cuMemFreeHost: ["uintptr_t"],
  cuMemcpyHtoDAsync_v2: ["uint64_t", "uintptr_t", "size_t", "uintptr_t"],
  cuMemcpyDtoHAsync_v2: ["uintptr_t", "uint64_t", "size_t", "uintptr_t"],
  cuMemsetD8Async: ["uint64_t", "uint", "size_t", "uintptr_t"],
  cuMemsetD32Async: ["uint64_t", "uint", "size_t", "uintptr_t"],
  cuStreamCreate: ["void *", "uint"],
  cuStreamDestroy_v2: ["uintptr_t"],
  cuStreamQuery: ["uintptr_t"],
  cuEventCreate: ["void *", "uint"],
  cuEventDestroy_v2: ["uintptr_t"],
  cuEventRecord: ["uintptr_t", "uintptr_t"],
  cuEventQuery: ["uintptr_t"],
  cuEventElapsedTime: ["void *", "uintptr_t", "uintptr_t"],
  cuModuleLoadData: ["void *", "void *"],
  cuModuleUnload: ["uintptr_t"],
  cuModuleGetFunction: ["void *", "uintptr_t", "str"],
  cuFuncSetAttribute: ["uintptr_t", "int", "int"],
  cuFuncGetAttribute: ["void *", "int", "uintptr_t"],
  cuOccupancyMaxActiveBlocksPerMultiprocessor: ["void *", "uintptr_t", "int", "size_t"],
  cuLaunchKernel: [
    "uintptr_t", "uint", "uint", "uint", "uint", "uint", "uint", "uint", "uintptr_t", "void *",
    "void *",
  ],
  cuLaunchCooperativeKernel: [
    "uintptr_t", "uint", "uint", "uint", "uint", "uint", "uint", "uint", "uintptr_t", "void *",
  ],
} as const satisfies Record<string, readonly CType[]>;

export type DriverCall = keyof typeof calls;

/** The oldest driver that has all of the above and loads cubins of CUDA 12. */
export const oldestDriver = 12_000;

/** A driver's version number as people write it: 13000 is "13.0". */
export const showVersion = (version: number): string =>
  `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;

/** The loaded driver library. */
export interface Driver {
  readonly path: string;
  /** 1000 major + 10 minor. */
  readonly version: number;
  readonly native: Native;
  /** Calls and throws, naming call, error, its code and the fix, unless the result is success. */
  call(name: DriverCall, ...args: CValue[]): void;
  /** Calls and gives the CUresult. */
  result(name: DriverCall, ...args: CValue[]): number;
  error(name: string, code: number): MpkError;
}

const driverFix =
  "install NVIDIA's driver, or use --device virtual; `mpk doctor` shows what is found";

/**
 * Loads the driver library and initializes it.
 * @throws MpkError (environment) where there is none, it is too old, or has no device.
 */
export async function openDriver(
  env: Environment = process.env,
  native?: Native,
): Promise<Driver> {
  const c = native ?? (await loadNative().catch((error: unknown) => {
    throw environmentError(
      `koffi has no binary for ${process.platform}-${process.arch}: ${messageOf(error)}`,
      "use --device virtual, or a platform that koffi supports",
      error,
    );
  }));
  const { library } = c.load(driverPaths(env));
  if (library === null) {
    throw environmentError("no CUDA driver: libcuda.so.1 cannot be loaded", driverFix);
  }
  const functions = new Map<string, NativeFunction>();
  const lookUp = (name: string, args: readonly CType[]): NativeFunction => {
    const known = functions.get(name);
    if (known !== undefined) return known;
    try {
      const found = library.func(name, "int", args);
      functions.set(name, found);
      return found;
    } catch (error) {
      throw environmentError(`${library.path} has no ${name}`, driverFix, error);
    }
  };
  const result = (name: DriverCall, ...args: CValue[]) =>
    Number(lookUp(name, calls[name])(...args));
  const asked = (name: AskedText) => lookUp(name, ["int", "void *"]);
  const error = (name: string, code: number) => {
    const { category, fix } = adviceOn(code);
    return new MpkError(category, `${name}: ${errorText(c, asked, code)}`, fix);
  };
  const call = (name: DriverCall, ...args: CValue[]) => {
    const code = result(name, ...args);
    if (code !== CuResult.success) throw error(name, code);
  };
  // Before cuInit, which may fail just because the driver is old.
  const version = new Int32Array(1);
  call("cuDriverGetVersion", version);
  refuseOld(library.path, version[0] ?? 0);
  call("cuInit", 0);
  return { path: library.path, version: version[0] ?? 0, native: c, call, result, error };
}

function refuseOld(path: string, version: number): void {
  if (version >= oldestDriver) return;
  throw environmentError(
    `${path}: the driver supports CUDA ${showVersion(version)}, ` +
      `at least ${showVersion(oldestDriver)} is needed`,
    "update NVIDIA's driver (version 525 or newer), or use --device virtual",
  );
}

/** Name and description of an error, as the driver tells them. */
function errorText(native: Native, ask: (name: AskedText) => NativeFunction, code: number) {
  const text = (name: AskedText): string | null => {
    const out = new BigUint64Array(1);
    const known = Number(ask(name)(code, out)) === CuResult.success && out[0] !== 0n;
    return known ? native.stringAt(out[0] ?? 0n) : null;
  };
  const name = text("cuGetErrorName");
  const description = text("cuGetErrorString");
  return `${name ?? "CUresult"} (${code})${description === null ? "" : `: ${description}`}`;
}

type AskedText = "cuGetErrorName" | "cuGetErrorString";
