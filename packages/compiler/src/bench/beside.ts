/** @file What is measured beside a kernel: PyTorch and transformers on the same weights, several at once. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Environment } from "@mpk/runtime";
import { measuredModel } from "./model.ts";
import { askBeside, findPython, type Beside, type Python } from "./python.ts";
import { isMeasured, notMeasured, type BenchResult } from "./result.ts";
import type { BenchSetting } from "./setting.ts";

/** A launch of ours from an empty cache, to be teacher-forced. */
export interface KeptRun {
  readonly prompt: readonly number[];
  readonly tokens: readonly number[];
  readonly logits: readonly Float32Array[];
}

/** The same with its logits in a file. */
export interface Run extends Omit<KeptRun, "logits"> {
  readonly logits: string;
}

export async function writeRun(folder: string, { prompt, tokens, logits }: KeptRun): Promise<Run> {
  const path = join(folder, `logits-${process.pid}.f32`);
  await writeFile(path, Buffer.concat(
    logits.map((row) => Buffer.from(row.buffer, row.byteOffset, row.byteLength))));
  return { prompt, tokens, logits: path };
}

/** A result whose setting asked for it, and its run where the gate can hold one. */
export interface BesideJob {
  readonly setting: BenchSetting;
  readonly result: BenchResult;
  readonly run: Run | null;
}

const unasked = notMeasured("not asked for: add --baseline torch");
const later = notMeasured("not yet");

const timesTorch = ({ wantsTorch, tokensPerStep }: BenchSetting): boolean =>
  wantsTorch && tokensPerStep === 1;
export const hasGate = ({ wantsFidelity, reads, tokensPerStep }: BenchSetting): boolean =>
  wantsFidelity && (reads !== "random" || tokensPerStep > 1);

/** What a result says of what comes later, or never. */
export function notYet(
  setting: BenchSetting,
): Pick<BenchResult, "torch" | "fidelity" | "pending"> {
  const { wantsTorch, wantsFidelity } = setting;
  const [torch, gate] = [timesTorch(setting), hasGate(setting)];
  const noTorch = wantsTorch ? notMeasured("only steps of one token have a counterpart") : unasked;
  const noGate = wantsFidelity
    ? notMeasured("the cache's rows are random, so no prompt leads to these logits")
    : unasked;
  return {
    torch: torch ? later : noTorch, fidelity: gate ? later : noGate,
    ...(torch || gate ? { pending: true as const } : {}),
  };
}

export interface BesideOptions {
  readonly env: Environment;
  /** A folder that all share. */
  readonly scratch: string;
  /** Ends those that take longer; what they told stays. */
  readonly mostSeconds: () => number;
  readonly onResult: (result: BenchResult) => void;
  /** Where the scripts are. */
  readonly folder?: string;
}

/** Bytes on the GPU that are given out; an H200 has 150 GB. */
const mostBytes = 140e9;
/** Processes at once: each compiles on several processors. */
const mostAtOnce = 8;

/** Weights, a part of them in float32, the rows of a long context, and what a process has anyway. */
const needOf = ({ result: { weightBytes, context } }: BesideJob): number =>
  weightBytes * 1.15 + 4e9 + context * 1e6;

/**
 * Measures all that is pending, in order, as many at once as memory holds. A lock keeps times alone on the
 * GPU. Never throws: what fails says why in its own result.
 */
export async function measureBesides(
  jobs: readonly BesideJob[],
  options: BesideOptions,
): Promise<void> {
  const left = jobs.filter(({ result }) => result.pending === true);
  if (left.length === 0) return;
  const python = await findPython(options.env, ...(options.folder === undefined ? [] : [options.folder]));
  const running = new Set<Promise<void>>();
  let given = 0;
  while (left.length > 0 || running.size > 0) {
    const at = left.findIndex((job) => running.size === 0 || given + needOf(job) <= mostBytes);
    if (at < 0 || running.size >= mostAtOnce) {
      await Promise.race(running);
      continue;
    }
    const [job] = left.splice(at, 1);
    if (job === undefined) continue;
    given += needOf(job);
    const work: Promise<void> = one(job, python, options).finally(() => {
      given -= needOf(job);
      running.delete(work);
    });
    running.add(work);
  }
}

async function one(
  { setting, result, run }: BesideJob,
  python: Python | ReturnType<typeof notMeasured>,
  { env, scratch, mostSeconds, onResult }: BesideOptions,
): Promise<void> {
  const seconds = mostSeconds();
  // Without time it stays pending: the next call does it.
  if (seconds < 5) return;
  const none = notMeasured("");
  let found: Beside = { torch: none, fidelity: none, seconds: {}, late: false };
  if (isMeasured(python)) {
    const { json: config, checkpoint } = measuredModel(setting.model);
    const request = {
      config, checkpoint, seed: `${setting.seed}`, context: setting.context,
      torch: timesTorch(setting), run, scratch, lock: join(scratch, "gpu.lock"),
    };
    found = await askBeside(request, python, env, seconds);
  } else found = { ...found, torch: python, fidelity: python };
  const { pending, ...rest } = result;
  onResult({
    ...rest, ...(found.late ? { pending } : {}),
    torch: timesTorch(setting) ? found.torch : result.torch,
    fidelity: hasGate(setting) ? found.fidelity : result.fidelity,
    seconds: { ...result.seconds, ...found.seconds },
  });
}
