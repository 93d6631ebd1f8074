/** @file What nvcc's assembler says a kernel uses: registers, spills. Needs no GPU. */
import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { environmentError, messageOf, runtimeError } from "../errors.ts";
import { nvccPath, type Environment } from "./libraries.ts";
import { compileOptions, temporaryFolder } from "./nvrtc.ts";

export interface KernelResources {
  readonly compiler: string;
  readonly registers: number;
  /** Bytes per thread stored to local memory for want of registers. */
  readonly spillBytes: number;
  readonly millis: number;
}

/**
 * Builds `source` with nvcc and reads what its assembler reports of `kernel`.
 * @throws MpkError (environment) where there is no nvcc.
 */
export async function kernelResources(
  source: string,
  target: string,
  kernel: string,
  env: Environment = process.env,
): Promise<KernelResources> {
  const nvcc = nvccPath(env);
  if (nvcc === null) {
    throw environmentError(
      "no CUDA compiler: nvcc was not found",
      "install the CUDA toolkit or set CUDA_HOME; `mpk doctor` shows what is found",
    );
  }
  const start = performance.now();
  const dir = await temporaryFolder(source);
  try {
    const input = join(dir, "kernel.cu");
    const options = [...compileOptions, `-arch=${target}`, "-cubin", "-Xptxas", "-v"];
    const { stderr } = await promisify(execFile)(nvcc, [
      ...options, "-o", join(dir, "kernel.cubin"), input,
    ]);
    return { compiler: nvcc, ...readAssembler(stderr, kernel), millis: performance.now() - start };
  } catch (error) {
    throw runtimeError(
      `nvcc refused kernel.cu for ${target}:\n${messageOf(error).slice(0, 4000)}`,
      "is nvcc new enough for this GPU? If it is, the source is at fault: please report it",
      error,
    );
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** ptxas -v: the kernel's name, then its spills, then its registers, a line each. */
function readAssembler(log: string, kernel: string) {
  const [, own = ""] = log.split(`Compiling entry function '${kernel}'`);
  return {
    registers: Number(/Used (\d+) registers/.exec(own)?.[1] ?? 0),
    spillBytes: Number(/(\d+) bytes spill stores/.exec(own)?.[1] ?? 0),
  };
}
