/** @file Source to cubin: by NVRTC, else nvcc; Node's event loop stays free meanwhile. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { environmentError, messageOf, runtimeError } from "../errors.ts";
import {
  loadNative,
  type CType,
  type CValue,
  type Native,
  type NativeFunction,
  type NativeLibrary,
} from "../native.ts";
import { nvccPath, nvrtcBuiltins, nvrtcPaths, type Environment } from "./libraries.ts";

/** Something that makes cubins. */
export interface CudaCompiler {
  readonly kind: "nvrtc" | "nvcc";
  readonly path: string;
  /** Part of the cubin's cache key. */
  readonly version: string;
  /** `target`: such as `sm_90a`. */
  compile(source: string, target: string): Promise<Uint8Array>;
}

/** NVRTC majors that are looked for, newest first. */
const nvrtcMajors = [13, 12] as const;

/** Options for both compilers, apart from the target. */
export const compileOptions = ["--std=c++17", "--fmad=true"] as const;

const calls = {
  nvrtcVersion: ["void *", "void *"],
  nvrtcCreateProgram: ["void *", "str", "str", "int", "void *", "void *"],
  nvrtcDestroyProgram: ["void *"],
  nvrtcCompileProgram: ["uintptr_t", "int", "void *"],
  nvrtcGetProgramLogSize: ["uintptr_t", "void *"],
  nvrtcGetProgramLog: ["uintptr_t", "void *"],
  nvrtcGetCUBINSize: ["uintptr_t", "void *"],
  nvrtcGetCUBIN: ["uintptr_t", "void *"],
} as const satisfies Record<string, readonly CType[]>;

/**
 * The compiler to use: NVRTC, no newer than the driver, else nvcc.
 * @param driverVersion 1000 major + 10 minor; cubins of a newer major would not load. Null where
 *   nothing will be loaded.
 * @throws MpkError (environment) where there is neither.
 */
export async function findCompiler(
  driverVersion: number | null,
  env: Environment = process.env,
  native?: Native,
): Promise<CudaCompiler> {
  const c = native ?? (await loadNative().catch(() => null));
  const newest = driverVersion === null ? Infinity : Math.floor(driverVersion / 1000);
  for (const major of nvrtcMajors) {
    if (c === null || major > newest) continue;
    const { library } = c.load(nvrtcPaths(env, major));
    if (library === null) continue;
    // Loaded already, it is found even where its folder is on no search path (pip's wheels).
    c.load(nvrtcBuiltins(library.path));
    return nvrtc(c, library);
  }
  const nvcc = await findNvcc(env);
  if (nvcc !== null) return nvcc;
  throw environmentError(
    "no CUDA compiler: neither NVRTC (libnvrtc.so) nor nvcc was found",
    "install the CUDA toolkit, or `pip install nvidia-cuda-nvrtc`; see `mpk doctor`",
  );
}

function nvrtc(native: Native, library: NativeLibrary): CudaCompiler {
  const api = bind(library);
  const [major, minor] = [new Int32Array(1), new Int32Array(1)];
  api.nvrtcVersion(major, minor);
  return {
    kind: "nvrtc",
    path: library.path,
    version: `${major[0]}.${minor[0]}`,
    compile: (source, target) => compileNvrtc(native, api, source, target),
  };
}

type Api = Record<keyof typeof calls, NativeFunction>;

function bind(library: NativeLibrary): Api {
  const bound = Object.entries(calls).map(
    ([name, args]) => [name, library.func(name, "int", args)] as const,
  );
  return Object.fromEntries(bound) as Api;
}

/** What a worker thread reads by address: kept from the garbage collector. */
const inUse = new Set<readonly Uint8Array[]>();

async function compileNvrtc(
  native: Native,
  api: Api,
  source: string,
  target: string,
): Promise<Uint8Array> {
  const check = (name: keyof typeof calls, ...args: CValue[]) => {
    const code = Number(api[name](...args));
    if (code === 0) return;
    throw runtimeError(`${name}: nvrtcResult ${code}`, "is NVRTC's install complete?");
  };
  const program = new BigUint64Array(1);
  check("nvrtcCreateProgram", program, source, "kernel.cu", 0, null, null);
  const handle = program[0] ?? 0n;
  try {
    const options = [...compileOptions, `--gpu-architecture=${target}`];
    const texts = options.map((option) => new TextEncoder().encode(`${option}\0`));
    const pointers = BigUint64Array.from(texts, (text) => native.addressOf(text));
    inUse.add(texts);
    const code = Number(await api.nvrtcCompileProgram.async(handle, options.length, pointers));
    inUse.delete(texts);
    if (code !== 0) throw refused("NVRTC", target, readLog(api, handle));
    const size = new BigUint64Array(1);
    check("nvrtcGetCUBINSize", handle, size);
    const cubin = new Uint8Array(Number(size[0]));
    check("nvrtcGetCUBIN", handle, cubin);
    return cubin;
  } finally {
    api.nvrtcDestroyProgram(program);
  }
}

function refused(compiler: string, target: string, log: string, cause?: unknown): Error {
  return runtimeError(
    `${compiler} refused kernel.cu for ${target}:\n${log.slice(0, 4000)}`,
    `is ${compiler} new enough for this GPU? If it is, the source is at fault: please report it`,
    cause,
  );
}

function readLog(api: Api, handle: bigint): string {
  const size = new BigUint64Array(1);
  api.nvrtcGetProgramLogSize(handle, size);
  const log = new Uint8Array(Number(size[0]));
  if (log.length > 0) api.nvrtcGetProgramLog(handle, log);
  return new TextDecoder().decode(log).replace(/\0+$/, "");
}

/**
 * A new temporary folder with `source` as its kernel.cu.
 * @throws MpkError (environment) where there is no room for it.
 */
export async function temporaryFolder(source: string): Promise<string> {
  let dir: string | null = null;
  try {
    dir = await mkdtemp(join(tmpdir(), "mpk-nvcc-"));
    await writeFile(join(dir, "kernel.cu"), source);
    return dir;
  } catch (error) {
    if (dir !== null) await rm(dir, { recursive: true, force: true });
    throw environmentError(
      `the compiler's files cannot be written: ${messageOf(error)}`,
      `make room in ${tmpdir()}, or set TMPDIR to another folder`,
      error,
    );
  }
}

/** nvcc on this machine as a compiler, or null. */
export async function findNvcc(env: Environment = process.env): Promise<CudaCompiler | null> {
  const path = nvccPath(env);
  if (path === null) return null;
  const run = promisify(execFile);
  const told = await run(path, ["--version"]).catch(() => null);
  const version = /release (\d+\.\d+)/.exec(told?.stdout ?? "")?.[1];
  if (version === undefined) return null;
  return {
    kind: "nvcc",
    path,
    version,
    async compile(source, target) {
      const dir = await temporaryFolder(source);
      try {
        const [input, output] = [join(dir, "kernel.cu"), join(dir, "kernel.cubin")];
        await run(path, [...compileOptions, `-arch=${target}`, "-cubin", "-o", output, input]);
        return new Uint8Array(await readFile(output));
      } catch (error) {
        throw refused("nvcc", target, messageOf(error), error);
      } finally {
        await rm(dir, { recursive: true, force: true });
      }
    },
  };
}
