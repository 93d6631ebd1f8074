/** @file One GPU: its properties, memory, streams, events and kernels, freed together. */
import { environmentError, runtimeError } from "../errors.ts";
import { CuResult, type Driver } from "./driver.ts";
import { ledger, type Handle } from "./ledger.ts";

export type { Handle } from "./ledger.ts";

/** A device address. */
export type DevicePointer = bigint;

/** CUdevice_attribute numbers, from cuda.h. */
const Attribute = {
  multiprocessors: 16,
  l2Bytes: 38,
  major: 75,
  minor: 76,
  cooperativeLaunch: 95,
  sharedBytesOptIn: 97,
} as const;

const memHostPortableMapped = 1 | 2;
const streamNonBlocking = 1;
/** CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES and CU_FUNC_ATTRIBUTE_NUM_REGS. */
const maxDynamicSharedAttribute = 8;
const registersAttribute = 4;

export interface DeviceInfo {
  readonly ordinal: number;
  readonly name: string;
  readonly major: number;
  readonly minor: number;
  readonly sms: number;
  readonly totalBytes: number;
  readonly l2Bytes: number;
  /** Shared memory that one block may opt in to. */
  readonly sharedBytes: number;
  readonly cooperative: boolean;
}

/** Page-locked host memory that the GPU sees too. */
export interface HostMemory {
  readonly bytes: Uint8Array;
  readonly address: bigint;
  readonly device: DevicePointer;
}

export interface LaunchShape {
  readonly blocks: number;
  readonly threads: number;
  readonly sharedBytes: number;
  readonly cooperative: boolean;
}

/** An open device. What it allocates is freed by `close`, if not before. */
export interface Device {
  readonly info: DeviceInfo;
  readonly driver: Driver;
  memory(): { readonly freeBytes: number; readonly totalBytes: number };
  alloc(bytes: number, what: string): DevicePointer;
  free(pointer: DevicePointer): void;
  allocHost(bytes: number): HostMemory;
  freeHost(memory: HostMemory): void;
  stream(): Handle;
  event(): Handle;
  record(event: Handle, stream: Handle): void;
  /** Whether all work before the event is done. Throws where it failed. */
  done(event: Handle): boolean;
  /** Whether all work of a stream is done. Throws where it failed. */
  idle(stream: Handle): boolean;
  /** Milliseconds between two events that are done. */
  elapsedMillis(start: Handle, end: Handle): number;
  upload(to: DevicePointer, from: HostMemory, offset: number, bytes: number, stream: Handle): void;
  download(to: HostMemory, from: DevicePointer, bytes: number, stream: Handle): void;
  clear(at: DevicePointer, bytes: number, stream: Handle): void;
  /** Sets every byte to `byte`. */
  fill(at: DevicePointer, byte: number, bytes: number, stream: Handle): void;
  /** Loads a cubin and finds its kernels. */
  load(cubin: Uint8Array, kernels: readonly string[]): readonly Handle[];
  registers(kernel: Handle): number;
  /** `args`: one view of each argument's bytes. */
  launch(
    kernel: Handle,
    shape: LaunchShape,
    args: readonly ArrayBufferView[],
    stream: Handle,
  ): void;
  /** What is allocated so far; see `freeSince`. */
  mark(): number;
  /** Frees what was allocated after `mark`, the last first. */
  freeSince(mark: number): void;
  /** Nothing is given back any more: each such call would wait for a kernel that never ends. */
  abandon(): void;
  /** Whether it was abandoned. */
  isLost(): boolean;
  /**
   * Frees all and lets the context go. Throws the driver's complaint about freeing, from now or
   * before, unless it has complained of something else already: what follows from that is no news.
   */
  close(): void;
}

function attributeOf(driver: Driver, attribute: number, device: number): number {
  const out = new Int32Array(1);
  driver.call("cuDeviceGetAttribute", out, attribute, device);
  return out[0] ?? 0;
}

/** Properties of every device the driver shows. */
export function listDevices(driver: Driver): readonly DeviceInfo[] {
  const count = new Int32Array(1);
  driver.call("cuDeviceGetCount", count);
  return Array.from({ length: count[0] ?? 0 }, (_, ordinal) => describe(driver, ordinal));
}

function describe(driver: Driver, ordinal: number): DeviceInfo {
  const id = deviceOf(driver, ordinal);
  const name = new Uint8Array(256);
  driver.call("cuDeviceGetName", name, name.length, id);
  const total = new BigUint64Array(1);
  driver.call("cuDeviceTotalMem_v2", total, id);
  const attribute = (which: number) => attributeOf(driver, which, id);
  return Object.freeze({
    ordinal,
    name: new TextDecoder().decode(name.slice(0, name.indexOf(0))),
    major: attribute(Attribute.major),
    minor: attribute(Attribute.minor),
    sms: attribute(Attribute.multiprocessors),
    totalBytes: Number(total[0]),
    l2Bytes: attribute(Attribute.l2Bytes),
    sharedBytes: attribute(Attribute.sharedBytesOptIn),
    cooperative: attribute(Attribute.cooperativeLaunch) === 1,
  });
}

/** The number that a GPU has alone, as nvidia-smi shows it; null where the driver does not tell. */
export function gpuNumber(driver: Driver, ordinal: number): string | null {
  const bytes = new Uint8Array(16);
  if (driver.result("cuDeviceGetUuid_v2", bytes, deviceOf(driver, ordinal)) !== CuResult.success) {
    return null;
  }
  const hex = Buffer.from(bytes).toString("hex");
  return `GPU-${hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")}`;
}

function deviceOf(driver: Driver, ordinal: number): number {
  const out = new Int32Array(1);
  driver.call("cuDeviceGet", out, ordinal);
  return out[0] ?? 0;
}

/**
 * Opens a device's primary context and makes it current on Node's main thread.
 * @throws MpkError (environment) where there is no such device or it lacks cooperative launches.
 */
export function openDevice(driver: Driver, ordinal = 0): Device {
  const info = listDevices(driver)[ordinal];
  if (info === undefined) {
    throw environmentError(
      `no CUDA device ${ordinal}`,
      "is one visible (CUDA_VISIBLE_DEVICES)? `mpk doctor` lists them; or use --device virtual",
    );
  }
  if (!info.cooperative) {
    throw environmentError(
      `${info.name} cannot launch cooperative kernels`,
      "use a GPU of compute capability 8.0 or newer, or --device virtual",
    );
  }
  const id = deviceOf(driver, ordinal);
  const context = handleFrom(driver, "cuDevicePrimaryCtxRetain", id);
  try {
    driver.call("cuCtxSetCurrent", context);
  } catch (error) {
    driver.result("cuDevicePrimaryCtxRelease_v2", id);
    throw error;
  }
  return wrapDevice(driver, info, id);
}

type HandleCall =
  | "cuDevicePrimaryCtxRetain" | "cuStreamCreate" | "cuEventCreate" | "cuModuleLoadData"
  | "cuModuleGetFunction" | "cuMemAlloc_v2" | "cuMemHostAlloc" | "cuMemHostGetDevicePointer_v2";

/** Calls a function whose first argument receives a handle or address. */
function handleFrom(
  driver: Driver,
  name: HandleCall,
  ...args: (number | bigint | string | Uint8Array)[]
): Handle {
  const out = new BigUint64Array(1);
  driver.call(name, out, ...args);
  return out[0] ?? 0n;
}

function wrapDevice(bare: Driver, info: DeviceInfo, id: number): Device {
  let failed = false;
  let lost = false;
  // Notes that an error has been told.
  const driver: Driver = {
    ...bare,
    error(name, code) {
      failed = true;
      return bare.error(name, code);
    },
    call(name, ...args) {
      const code = bare.result(name, ...args);
      if (code !== CuResult.success) throw driver.error(name, code);
    },
  };
  const { call } = driver;
  const held = ledger(bare);
  const { own, disown } = held;
  return {
    info,
    driver,
    memory: () => memoryInfo(driver),
    alloc: (bytes, what) => own(allocate(driver, bytes, what), "cuMemFree_v2"),
    free: disown,
    allocHost(bytes) {
      const address = handleFrom(driver, "cuMemHostAlloc", bytes, memHostPortableMapped);
      own(address, "cuMemFreeHost");
      return {
        bytes: driver.native.view(address, bytes),
        address,
        device: handleFrom(driver, "cuMemHostGetDevicePointer_v2", address, 0),
      };
    },
    freeHost: (memory) => disown(memory.address),
    stream: () => own(handleFrom(driver, "cuStreamCreate", streamNonBlocking), "cuStreamDestroy_v2"),
    event: () => own(handleFrom(driver, "cuEventCreate", 0), "cuEventDestroy_v2"),
    record: (event, stream) => call("cuEventRecord", event, stream),
    done: (event) => isDone(driver, "cuEventQuery", event),
    idle: (stream) => isDone(driver, "cuStreamQuery", stream),
    elapsedMillis(start, end) {
      const out = new Float32Array(1);
      call("cuEventElapsedTime", out, start, end);
      return out[0] ?? 0;
    },
    upload: (to, from, offset, bytes, stream) =>
      call("cuMemcpyHtoDAsync_v2", to, from.address + BigInt(offset), bytes, stream),
    download: (to, from, bytes, stream) =>
      call("cuMemcpyDtoHAsync_v2", to.address, from, bytes, stream),
    fill(at, byte, bytes, stream) {
      if (bytes > 0) call("cuMemsetD8Async", at, byte, bytes, stream);
    },
    clear(at, bytes, stream) {
      if (bytes > 0) call("cuMemsetD8Async", at, 0, bytes, stream);
    },
    load(cubin, kernels) {
      const module = own(handleFrom(driver, "cuModuleLoadData", cubin), "cuModuleUnload");
      return kernels.map((name) => handleFrom(driver, "cuModuleGetFunction", module, name));
    },
    registers(kernel) {
      const out = new Int32Array(1);
      call("cuFuncGetAttribute", out, registersAttribute, kernel);
      return out[0] ?? 0;
    },
    launch: (kernel, shape, args, stream) => launch(driver, info, kernel, shape, args, stream),
    mark: held.mark,
    freeSince(mark) {
      if (!lost) held.freeSince(mark);
    },
    abandon: () => void (lost = true),
    isLost: () => lost,
    close() {
      if (lost) return;
      held.freeSince(0);
      held.giveBack("cuDevicePrimaryCtxRelease_v2", id);
      const complaint = held.complaint();
      if (complaint !== null && !failed) throw complaint;
    },
  };
}

function memoryInfo(driver: Driver) {
  const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)];
  driver.call("cuMemGetInfo_v2", free, total);
  return { freeBytes: Number(free[0]), totalBytes: Number(total[0]) };
}

function allocate(driver: Driver, bytes: number, what: string): DevicePointer {
  const out = new BigUint64Array(1);
  // CUDA refuses empty allocations; a kernel parameter must still point somewhere.
  const code = driver.result("cuMemAlloc_v2", out, Math.max(bytes, 256));
  if (code === CuResult.success) return out[0] ?? 0n;
  if (code !== CuResult.outOfMemory) throw driver.error("cuMemAlloc_v2", code);
  const { message, fix } = driver.error("cuMemAlloc_v2", code);
  const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)];
  // Where this fails too, it is not what there is to tell.
  const isKnown = driver.result("cuMemGetInfo_v2", free, total) === CuResult.success;
  const left = isKnown ? `, ${free[0]} of ${total[0]} are free` : "";
  throw runtimeError(`out of GPU memory: ${what} needs ${bytes} bytes${left} (${message})`, fix);
}

function isDone(driver: Driver, query: "cuEventQuery" | "cuStreamQuery", handle: Handle): boolean {
  const code = driver.result(query, handle);
  if (code === CuResult.notReady) return false;
  if (code !== CuResult.success) throw driver.error(`the kernel ended with an error: ${query}`, code);
  return true;
}

function launch(
  driver: Driver,
  info: DeviceInfo,
  kernel: Handle,
  shape: LaunchShape,
  args: readonly ArrayBufferView[],
  stream: Handle,
): void {
  const { blocks, threads, sharedBytes, cooperative } = shape;
  if (sharedBytes > info.sharedBytes) {
    throw environmentError(
      `the kernel needs ${sharedBytes} bytes of shared memory, ` +
        `${info.name} gives ${info.sharedBytes}`,
      "compile for this GPU's own target (see `mpk doctor`)",
    );
  }
  if (sharedBytes > 48 * 1024) {
    driver.call("cuFuncSetAttribute", kernel, maxDynamicSharedAttribute, sharedBytes);
  }
  if (cooperative) refuseUnresident(driver, info, kernel, shape);
  const pointers = BigUint64Array.from(args, (view) => driver.native.addressOf(view));
  const common = [kernel, blocks, 1, 1, threads, 1, 1, sharedBytes, stream, pointers] as const;
  if (cooperative) driver.call("cuLaunchCooperativeKernel", ...common);
  else driver.call("cuLaunchKernel", ...common, null);
}

/** All blocks of a cooperative kernel must be resident at once. */
function refuseUnresident(driver: Driver, info: DeviceInfo, kernel: Handle, shape: LaunchShape) {
  const out = new Int32Array(1);
  driver.call(
    "cuOccupancyMaxActiveBlocksPerMultiprocessor", out, kernel, shape.threads, shape.sharedBytes,
  );
  const resident = (out[0] ?? 0) * info.sms;
  if (resident >= shape.blocks) return;
  throw environmentError(
    `the kernel's ${shape.blocks} blocks do not fit ${info.name} at once (${resident} do)`,
    `compile for at most ${Math.max(1, resident)} SMs (--sms)`,
  );
}
