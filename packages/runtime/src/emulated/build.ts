/** @file Builds an emitted source as a program that runs it on this machine's CPU; cached. */
import { execFile } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import {
  chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile,
} from "node:fs/promises";
import { existsSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { cacheFolder } from "../cuda/cache.ts";
import type { Environment } from "../cuda/libraries.ts";
import { environmentError, messageOf, runtimeError } from "../errors.ts";

/** A file of the emulator; see `emulatorFiles` of @mpk/cuda. */
export interface SourceFile {
  readonly name: string;
  readonly text: string;
}

/**
 * What the program watches itself for: nothing; races and missing orders (`races`); accesses out of
 * bounds and undefined behaviour (`memory`: the compiler's sanitizers).
 */
export type Instrument = "none" | "races" | "memory";

export interface EmulatorBuild {
  /** The emitted source. */
  readonly source: string;
  /** Such as `sm_90a`: which of the kernel's paths are taken. */
  readonly target: string;
  readonly files: readonly SourceFile[];
  readonly instrument: Instrument;
  readonly env: Environment;
}

const run = promisify(execFile);

/** Contracting a product and a sum would round differently from machine to machine. */
const commonFlags = [
  "-std=c++17", "-g1", "-ffp-contract=off", "-fno-strict-aliasing", "-fno-pie",
] as const;

interface Flags {
  /** Of every file. */
  readonly all: readonly string[];
  /** Of the emitted source alone: the compiler calls the emulator at every access. */
  readonly kernel: readonly string[];
}

function flagsOf(instrument: Instrument, isClang: boolean): Flags {
  const volatiles = isClang
    ? ["-mllvm", "-tsan-distinguish-volatile=1"]
    : ["--param", "tsan-distinguish-volatile=1"];
  const sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
  const own = {
    none: { all: [], kernel: [] },
    races: { all: ["-DMPK_CHECK"], kernel: ["-fsanitize=thread", ...volatiles] },
    memory: { all: [...sanitizers, "-fno-omit-frame-pointer", "-O1"], kernel: [] },
  } satisfies Record<Instrument, Flags>;
  const { all, kernel } = own[instrument];
  return { all: [...commonFlags, ...all], kernel };
}

/** A host C++ compiler: `$CXX`, or the first of the usual names in `$PATH`. */
export function findHostCompiler(env: Environment): string | null {
  const named = env["CXX"];
  if (named !== undefined && named !== "") return named;
  const folders = (env["PATH"] ?? "").split(delimiter).filter(Boolean);
  const candidates = ["g++", "clang++", "c++"].flatMap((name) =>
    folders.map((folder) => join(folder, name)),
  );
  return candidates.find((path) => existsSync(path)) ?? null;
}

/** The compiler and its version. @throws MpkError (environment) where there is none. */
async function requireCompiler(env: Environment): Promise<{ path: string; version: string }> {
  const path = findHostCompiler(env);
  const fix = "install one (Debian: apt install g++; macOS: xcode-select --install), or name it " +
    "in $CXX";
  if (path === null) {
    throw environmentError("no C++ compiler: neither g++ nor clang++ is in $PATH", fix);
  }
  try {
    const { stdout } = await run(path, ["--version"]);
    return { path, version: stdout.split("\n")[0] ?? "" };
  } catch (error) {
    throw environmentError(`the C++ compiler ${path} does not run: ${messageOf(error)}`, fix, error);
  }
}

const digestOf = (...parts: readonly (string | Uint8Array)[]): string => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest("hex").slice(0, 32);
};

/**
 * A file of the cache by what made it, or null. Its name ends with the hash of its bytes: a damaged
 * entry is made again, never run.
 */
async function cached(folder: string, key: string): Promise<string | null> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((each) => each.startsWith(`${key}-`))) {
    const file = join(folder, name);
    const bytes = await readFile(file).catch(() => null);
    if (bytes !== null && name === `${key}-${digestOf(bytes)}`) return file;
  }
  return null;
}

/** Puts a file into the cache, at once or not at all; gives its path there. */
async function keep(folder: string, key: string, made: string): Promise<string> {
  const file = join(folder, `${key}-${digestOf(await readFile(made))}`);
  const temporary = join(folder, `.${randomUUID()}.tmp`);
  try {
    await copyFile(made, temporary);
    await chmod(temporary, 0o755);
    await rename(temporary, file);
  } finally {
    await rm(temporary, { force: true });
  }
  return file;
}

/** 90 of `sm_90a`, times ten as `__CUDA_ARCH__` has it. */
const architecture = (target: string): string => `${Number(/\d+/.exec(target)?.[0] ?? 90)}0`;

async function compileIn(folder: string, compiler: string, args: readonly string[]): Promise<void> {
  try {
    await run(compiler, [...args], { cwd: folder, maxBuffer: 64 * 2 ** 20 });
  } catch (error) {
    throw runtimeError(
      `${compiler} refused the emitted source:\n${messageOf(error).slice(0, 4000)}`,
      "machine_host.hpp must have every name of machine.cuh; is the compiler new enough (C++17)?",
      error,
    );
  }
}

/**
 * The path of a program that runs the source on this CPU.
 * @throws MpkError: environment (no compiler, no room), runtime (the source does not compile).
 */
export async function buildEmulator(build: EmulatorBuild): Promise<string> {
  const compiler = await requireCompiler(build.env);
  const flags = flagsOf(build.instrument, compiler.version.includes("clang"));
  const texts = build.files.flatMap(({ name, text }) => [name, text]);
  const identity = [...flags.all, "", ...flags.kernel].join(" ");
  const common = digestOf(compiler.path, compiler.version, identity, ...texts);
  const target = architecture(build.target);
  const folder = join(cacheFolder(build.env), "emulated");
  const key = digestOf(common, target, build.source);
  const found = await cached(folder, key);
  if (found !== null) return found;
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw environmentError(
      `cannot write the cache folder ${folder}: ${messageOf(error)}`,
      "point $XDG_CACHE_HOME to a folder that can be written",
      error,
    );
  });
  const work = await mkdtemp(join(tmpdir(), "mpk-emulator-"));
  // An interrupt ends the process without a word to those who wait.
  const clear = (): void => rmSync(work, { recursive: true, force: true });
  process.once("exit", clear);
  try {
    for (const { name, text } of build.files) await writeFile(join(work, name), text);
    await writeFile(join(work, "kernel.cu"), build.source);
    await writeFile(join(work, "kernel.cpp"), `#include "kernel.cu"\n#include "entry.hpp"\n`);
    const device = (await cached(folder, common)) ??
      (await buildDevice(work, folder, common, compiler.path, flags.all, build.files));
    const define = [`-DMPK_HOST=${target}`, "-include", "machine_host.hpp", "-w"];
    const kernel = [...flags.all, ...flags.kernel, "-O1", ...define, "-c", "kernel.cpp"];
    await compileIn(work, compiler.path, [...kernel, "-o", "kernel.o"]);
    const inputs = ["kernel.o", "-x", "none", device];
    await compileIn(work, compiler.path, [...flags.all, "-no-pie", ...inputs, "-o", "program"]);
    return await keep(folder, key, join(work, "program"));
  } finally {
    await rm(work, { recursive: true, force: true });
    process.off("exit", clear);
  }
}

/** What is the same for every source, as one object file. */
async function buildDevice(
  work: string,
  folder: string,
  key: string,
  compiler: string,
  flags: readonly string[],
  files: readonly SourceFile[],
): Promise<string> {
  const units = files.map(({ name }) => name).filter((name) => name.endsWith(".cpp"));
  await writeFile(
    join(work, "device.cc"),
    units.map((name) => `#include "${name}"\n`).join(""),
  );
  await compileIn(work, compiler, ["-O2", ...flags, "-c", "device.cc", "-o", "device.o"]);
  return await keep(folder, key, join(work, "device.o"));
}
