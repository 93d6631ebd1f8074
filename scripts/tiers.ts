/** @file The test tiers: what each needs, and whether this machine has it. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

/** A test file belongs to a tier by its name: `x.nvcc.test.ts`; without a tier it is `unit`. */
export type TierName = "unit" | "spin" | "browser" | "emu" | "nvcc" | "gpu";

export interface Tier {
  readonly name: TierName;
  /** Why this machine cannot run it, or null where it can. */
  readonly missing: string | null;
}

/** Finds a program in `PATH`, or in the folders given. */
export function findProgram(name: string, more: readonly string[] = []): string | null {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), ...more];
  const found = folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
  return found ?? null;
}

/** Where CUDA is, if it is: `CUDA_HOME`, `CUDA_PATH` or its usual place. */
const cudaHome = process.env["CUDA_HOME"] ?? process.env["CUDA_PATH"] ?? "/usr/local/cuda";

/** The CUDA compiler. */
export function findNvcc(): string | null {
  return findProgram("nvcc", [join(cudaHome, "bin")]);
}

/** A host C++ compiler: `CXX`, or the first of the usual names. */
export function findHostCompiler(): string | null {
  const named = process.env["CXX"];
  if (named !== undefined && named !== "") return named;
  return ["g++", "clang++", "c++"].map((name) => findProgram(name)).find((p) => p !== null) ?? null;
}

/** SPIN writes its searches in C; gcc compiles them. */
function missingForSpin(): string | null {
  const missing = ["spin", "gcc"].filter((name) => findProgram(name) === null);
  return missing.length === 0 ? null : `no ${missing.join(" and no ")} in $PATH`;
}

/** The browser that tests of pages drive: `CHROMIUM`, or the first of the usual names. */
export function findChromium(): string | null {
  const named = process.env["CHROMIUM"];
  if (named !== undefined && named !== "") return named;
  const names = ["chromium", "chromium-browser", "google-chrome"];
  return names.map((name) => findProgram(name)).find((path) => path !== null) ?? null;
}

function hasGpu(): boolean {
  const smi = findProgram("nvidia-smi");
  if (smi === null) return existsSync("/dev/nvidia0");
  return /^GPU \d/m.test(spawnSync(smi, ["-L"], { encoding: "utf8" }).stdout ?? "");
}

/** Every tier, in the order of reports. */
export function detectTiers(): readonly Tier[] {
  const missing = {
    unit: null,
    spin: missingForSpin(),
    browser: findChromium() === null ? "no chromium in $PATH or $CHROMIUM" : null,
    emu: findHostCompiler() === null ? "no host C++ compiler (g++, clang++, c++ or $CXX)" : null,
    nvcc: findNvcc() === null ? `no nvcc in $PATH or ${cudaHome}/bin` : null,
    gpu: hasGpu() ? null : "no NVIDIA device",
  } satisfies Record<TierName, string | null>;
  return Object.entries(missing).map(([name, why]) => ({ name: name as TierName, missing: why }));
}

/** The tier of a test file, by its name. */
export function tierOf(file: string): TierName {
  const tier = /\.(spin|browser|emu|nvcc|gpu)\.(?:long\.)?test\.ts$/.exec(file)?.[1];
  return (tier as TierName | undefined) ?? "unit";
}
