/** @file The only file that imports koffi: native libraries, C calls and mapped files. */
import { promisify } from "node:util";
import { messageOf } from "./errors.ts";

/** C types by the names koffi knows; pointers travel as bigint addresses or typed arrays. */
export type CType =
  | "void"
  | "int"
  | "uint"
  | "int64_t"
  | "size_t"
  | "uint64_t"
  | "uintptr_t"
  | "void *"
  | "str";

export type CValue = number | bigint | string | null | ArrayBufferView;

export interface NativeFunction {
  (...args: CValue[]): unknown;
  /** On a worker thread; views passed in must stay alive and unread until it resolves. */
  async(...args: CValue[]): Promise<unknown>;
}

/** A shared library. `func` throws where the symbol is missing. */
export interface NativeLibrary {
  readonly path: string;
  func(name: string, result: CType, args: readonly CType[]): NativeFunction;
}

/** What the rest of the runtime needs from C. Tests pass a fake. */
export interface Native {
  /** The first of `paths` that loads, or null with the reasons in `failures`. */
  load(paths: readonly string[]): { library: NativeLibrary | null; failures: readonly string[] };
  /** The bytes at `address`, shared, not copied. Valid while the memory is. */
  view(address: bigint, bytes: number): Uint8Array;
  addressOf(view: ArrayBufferView): bigint;
  /** The C string at `address`, which is not null. */
  stringAt(address: bigint): string;
  errno(): number;
}

type Koffi = (typeof import("koffi"))["default"];

let loaded: Promise<Native> | undefined;

/**
 * Koffi as `Native`, loaded once.
 * @throws where koffi has no binary for this platform; callers decide what to do without it.
 */
export function loadNative(): Promise<Native> {
  loaded ??= import("koffi").then((module) => {
    // Native code runs on koffi's own stacks. Its 128 KiB for worker threads are too few for NVRTC,
    // which recurses deeper than that in a large kernel; memory is only taken where it is touched.
    module.default.config({ async_stack_size: 16 * 1024 * 1024 });
    return wrap(module.default);
  });
  return loaded;
}

function wrap(koffi: Koffi): Native {
  return {
    load(paths) {
      const failures: string[] = [];
      for (const path of paths) {
        try {
          return { library: wrapLibrary(koffi, path), failures };
        } catch (error) {
          failures.push(`${path}: ${messageOf(error)}`);
        }
      }
      return { library: null, failures };
    },
    view: (address, bytes) => new Uint8Array(koffi.view(address, bytes)),
    addressOf: (view) => koffi.address(view),
    stringAt: (address) => koffi.decode.string(address),
    errno: () => koffi.errno(),
  };
}

function wrapLibrary(koffi: Koffi, path: string): NativeLibrary {
  const handle = koffi.load(path);
  return {
    path,
    func: (name, result, args) => {
      const call = handle.func(name, result, [...args]);
      const later = promisify(call.async) as (...values: CValue[]) => Promise<unknown>;
      return Object.assign((...values: CValue[]) => call(...values) as unknown, { async: later });
    },
  };
}

/** A file's bytes in memory, paged in by the operating system as they are touched. */
export interface MappedFile {
  /** Shared, not copied; must not be used after `close`. */
  bytes(offset: number, length: number): Uint8Array;
  close(): void;
}

const libcNames: Partial<Record<NodeJS.Platform, readonly string[]>> = {
  linux: ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"],
  darwin: ["libSystem.dylib"],
};

/** PROT_READ and MAP_PRIVATE, the same on Linux and macOS. */
const protRead = 1;
const mapPrivate = 2;

/**
 * Maps a whole file for reading. Null where this platform cannot: the caller then reads slices.
 * `fd` may be closed afterwards.
 */
export async function mapFile(fd: number, bytes: number): Promise<MappedFile | null> {
  const names = libcNames[process.platform];
  if (names === undefined || bytes === 0) return null;
  const native = await loadNative().catch(() => null);
  const libc = native?.load(names).library;
  if (!native || !libc) return null;
  const mmap = libc.func("mmap", "uintptr_t", [
    "uintptr_t", "size_t", "int", "int", "int", "int64_t",
  ]);
  const munmap = libc.func("munmap", "int", ["uintptr_t", "size_t"]);
  const base = BigInt(mmap(0, bytes, protRead, mapPrivate, fd, 0) as number | bigint);
  if (base === 0xffff_ffff_ffff_ffffn) return null;
  let open = true;
  return {
    bytes(offset, length) {
      if (!open) throw new Error("a mapped file was read after it was closed");
      return length === 0 ? new Uint8Array(0) : native.view(base + BigInt(offset), length);
    },
    close() {
      if (!open) return;
      open = false;
      munmap(base, bytes);
    },
  };
}
