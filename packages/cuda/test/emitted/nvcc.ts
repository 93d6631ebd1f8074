/** @file Compiles emitted sources with nvcc, as many at once as there are processors. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { scheduleTable } from "@mpk/ops";
import { machines, plan, type Machine, type Plan } from "@mpk/schedule";
import type { Program } from "@mpk/ir";
import { expect } from "vitest";
import { findNvcc } from "../../../../scripts/tiers.ts";
import { emitReal } from "./decoders.ts";

/** A GPU of each target. */
export const gpus: Readonly<Record<string, Machine>> = {
  sm_80: machines.a100, sm_86: machines.rtx3090, sm_89: machines.rtx4090, sm_90: machines.h100,
  sm_90a: machines.h200, sm_100: machines.b200, sm_120: machines.rtx5090,
};

export interface Job {
  readonly name: string;
  readonly target: string;
  readonly source: string;
}

/** A program's source for the usual GPU of a target. */
export function jobOf(name: string, program: Program, target: string, profile = false): Job {
  return jobOfPlan(name, plan(program, scheduleTable, gpus[target]!), target, profile);
}

export function jobOfPlan(name: string, made: Plan, target: string, profile = false): Job {
  return { name, target, source: emitReal(made, target, profile).source };
}

/** A program's source with flags in the data. */
export function flaggedJob(name: string, program: Program, target: string, profile = false): Job {
  const made = plan(program, scheduleTable, gpus[target]!, { protocol: "flag" });
  return jobOfPlan(name, made, target, profile);
}

/** What ptxas says of a kernel. */
export interface KernelUse {
  readonly registers: number;
  readonly spillBytes: number;
}

export interface Compiled {
  /** The machine code's file. */
  readonly cubin: string;
  readonly decode: KernelUse;
  readonly pack: KernelUse;
  /** The compiler's lines that warn. */
  readonly warnings: readonly string[];
  /** Of processor time, by the compiler and all it starts: the machine may be busy. */
  readonly seconds: number;
}

/** A constant of a header that not every plan uses; and how to silence what was said. */
const known = /variable "kMinusInfinity" was declared but never referenced|^Remark: /;

function useOf(log: string, kernel: string): KernelUse {
  const [, part = ""] = log.split(`Compiling entry function '${kernel}'`);
  const numbers = /(\d+) bytes spill stores, (\d+) bytes spill loads[\s\S]*?Used (\d+) registers/;
  const [, stores, loads, registers] = numbers.exec(part) ?? [];
  if (registers === undefined) throw new Error(`nvcc says nothing of ${kernel}:\n${log}`);
  return { registers: Number(registers), spillBytes: Number(stores) + Number(loads) };
}

async function compileOne(job: Job, folder: string): Promise<Compiled> {
  const file = join(folder, `${job.name}.${job.target}`.replaceAll(/[^\w.]/g, "_"));
  writeFileSync(`${file}.cu`, job.source);
  const flags = ["-std=c++17", `-arch=${job.target}`, "-cubin", "-Xptxas", "-v", "-o", file];
  const timed = ["-c", 'TIMEFORMAT="cpu %U %S"; time "$0" "$@"', findNvcc() ?? "nvcc"];
  const { stdout, stderr } = await promisify(execFile)(
    "bash", [...timed, ...flags, `${file}.cu`], { maxBuffer: 2 ** 26 },
  );
  const log = stdout + stderr;
  const [, user, system] = /^cpu ([\d.]+) ([\d.]+)$/m.exec(stderr) ?? [];
  return {
    cubin: file,
    decode: useOf(log, "mpk_decode"),
    pack: useOf(log, "mpk_pack"),
    warnings: log.split("\n").filter((line) => /warning/.test(line) && !known.test(line)),
    seconds: Number(user) + Number(system),
  };
}

/** Compiles all, and tells `done` of each; a job that fails gives its error, the others their results. */
export async function compileAll(
  jobs: readonly Job[], folder: string, done: (job: Job, result: Compiled | Error) => void = () => {},
): Promise<readonly (Compiled | Error)[]> {
  const results: (Compiled | Error)[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let i = next++; i < jobs.length; i = next++) {
      const job = jobs[i]!;
      const result = await compileOne(job, folder).catch((error: unknown) => error as Error);
      results[i] = result;
      done(job, result);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return results;
}

/** Registers of one thread so that a block of 288 is resident: 65536 / 384, in units of 8. */
export const mostRegisters = 168;

/** The compiler has nothing to say, and at most `mostSpilled` bytes of registers lie in local memory. */
export function expectClean(
  compiled: Compiled | Error | undefined, mostSpilled = 0,
): asserts compiled is Compiled {
  if (compiled instanceof Error) throw compiled;
  expect(compiled?.warnings).toEqual([]);
  expect(compiled?.decode.spillBytes).toBeLessThanOrEqual(mostSpilled);
  expect(compiled?.pack.spillBytes).toBe(0);
  expect(compiled?.decode.registers).toBeLessThanOrEqual(mostRegisters);
}
