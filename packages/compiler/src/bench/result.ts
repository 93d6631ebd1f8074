/** @file What a benchmark found, as JSON; what was not measured says why. Pure. */
import { inputError } from "@mpk/runtime";
import type { Spread } from "./statistics.ts";

/** In place of a value: why there is none. */
export interface NotMeasured {
  readonly notMeasured: string;
}

/** In place of a measurement that could not be made; `why` is a sentence for the reader. */
export const notMeasured = (why: string): NotMeasured => ({ notMeasured: why });

/** Tells a measurement from the reason for its absence. */
export function isMeasured<T extends object>(value: T | NotMeasured): value is T {
  return !("notMeasured" in value);
}

/** Logits held to transformers in float32, on the same weights and tokens; see bench/fidelity.py. */
export interface Fidelity {
  /** Relative L2 error, over that of transformers' own bf16 run. */
  readonly ratio: number;
  /** Tokens that differ although float32's gap is larger than twice the largest error. */
  readonly wrong: number;
  readonly mustAgree: number;
  readonly passed: boolean;
  /** Relative L2 errors against float32: ours, and that of transformers' bf16 run. */
  readonly error?: number;
  readonly bf16Error?: number;
}

/** The same step by PyTorch in one CUDA graph; see bench/torch_baseline.py. */
export interface TorchBaseline {
  readonly msPerToken: number;
  readonly torch: string;
}

/** Where and of what a result is. */
export interface Origin {
  /** GPU by name, its SMs, and the driver. */
  readonly machine: string;
  /** Which GPU of its kind: its own number. */
  readonly gpu: string | null;
  /** Of the repository, where known. */
  readonly commit: string | null;
  /** Hash of the sources that ran: tells changes apart that no commit has. */
  readonly sources: string | null;
}

/** A setting that could not be measured. */
export interface Failure {
  readonly model: string;
  readonly setting: string;
  readonly error: string;
}

/** A model at one context and one number of tokens a step. */
export interface BenchResult {
  /** As asked for: see `settingText`. */
  readonly setting?: string;
  readonly origin?: Origin;
  /** What is beside it is not measured yet. */
  readonly pending?: true;
  /** As people write it. */
  readonly model: string;
  /** Tokens before the first measured one. */
  readonly context: number;
  readonly tokensPerStep: number;
  /** Bytes a step must read: from config.json, whatever the plan streams. */
  readonly weightBytes: number;
  readonly cacheBytes: number;
  /** The larger of what the machine is known to read (H200: 4.6 TB/s) and the run's own probe. */
  readonly limitBytesPerSecond: number;
  readonly probeBytesPerSecond: number | null;
  readonly floorMs: number;
  /** Of a step. Where a value is null, the run did not keep it. */
  readonly ms: { readonly [K in keyof Spread]: Spread[K] | null } & { readonly p50: number };
  readonly eventMs: number | null;
  /** Over its own position's median over launches: lateness without what the position costs. */
  readonly late?: Spread;
  /** Medians over launches, by position from the first measured one. */
  readonly byPosition?: readonly number[];
  /** One launch of so many tokens, its first hundred's median and its last's. */
  readonly long?: LongRun | null;
  readonly firstTokenMs: number | null;
  readonly promptStep: { readonly tokens: number; readonly ms: number } | null;
  readonly reruns: number;
  /** Of those, how many gave the first run's tokens. */
  readonly rerunsEqual: number;
  /** Of the others: from which token on they differ. The first run is launch 0. */
  readonly unequal?: readonly { readonly launch: number; readonly token: number }[];
  /** Launches whose logits, all of them, were those of another launch to the last bit. */
  readonly logitReruns?: { readonly launches: number; readonly equal: number };
  readonly fidelity: Fidelity | NotMeasured;
  readonly torch: TorchBaseline | NotMeasured;
  /** What the measurement itself took, by part. */
  readonly seconds?: Readonly<Record<string, number>>;
}

export interface LongRun {
  readonly tokens: number;
  readonly ms: Spread;
  readonly firstHundredMs: number;
  readonly lastHundredMs: number;
}

export interface BenchFile {
  readonly format: "mpk-bench";
  readonly version: 1;
  readonly machine: string;
  /** Of the repository, where known. */
  readonly commit: string | null;
  readonly command: string;
  readonly results: readonly BenchResult[];
  /** What was asked for too and gave none. */
  readonly failures?: readonly Failure[];
}

/** The limit of a device: the best known of its kind or what it just read, whichever is more. */
export const limitOf = (known: number, probed: number | null): number =>
  Math.max(known, probed ?? 0);

/**
 * Prompts read in steps of several sizes decode alike after it: where results differ in nothing else that
 * is told of them, the first is taken.
 */
export function withoutRepeats(results: readonly BenchResult[]): readonly BenchResult[] {
  const nameOf = ({ model, context, tokensPerStep, origin }: BenchResult) =>
    JSON.stringify([model, context, tokensPerStep, origin?.gpu, origin?.commit]);
  const isRepeat = (one: BenchResult, earlier: BenchResult) =>
    nameOf(one) === nameOf(earlier) && one.promptStep?.tokens !== earlier.promptStep?.tokens;
  return results.filter((one, i) => !results.slice(0, i).some((earlier) => isRepeat(one, earlier)));
}

/** Share of the limit that was reached. */
export const shareOfLimit = ({ floorMs, ms }: BenchResult): number => floorMs / ms.p50;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Field paths that drawing and tables read, by type. */
const needed = {
  string: ["model"],
  number: [
    "context", "tokensPerStep", "weightBytes", "cacheBytes", "limitBytesPerSecond", "floorMs",
    "reruns", "rerunsEqual",
  ],
  object: ["ms", "fidelity", "torch"],
} as const;

/**
 * Parses a results file as untrusted input.
 * @throws MpkError (input) naming file and field.
 */
export function readBenchFile(
  path: string,
  text: string,
  { mayBeEmpty = false }: { readonly mayBeEmpty?: boolean } = {},
): BenchFile {
  const fail = (what: string): never => {
    throw inputError(`${path}: ${what}`, "give a file that `mpk bench --out` wrote");
  };
  const parsed = parse(text);
  if (!isRecord(parsed) || parsed["format"] !== "mpk-bench") return fail("is no benchmark result");
  if (parsed["version"] !== 1) return fail(`has version ${String(parsed["version"])}, expected 1`);
  const { results } = parsed;
  if (!Array.isArray(results) || (results.length === 0 && !mayBeEmpty)) return fail("holds no results");
  results.forEach((result: unknown, i) => {
    if (!isRecord(result)) return fail(`results[${i}] is no object`);
    for (const [type, fields] of Object.entries(needed)) for (const field of fields) {
      const value = result[field];
      const good = type === "object" ? isRecord(value) : typeof value === type;
      if (!good) fail(`results[${i}].${field} is ${JSON.stringify(value)}, expected a ${type}`);
    }
    const p50 = isRecord(result["ms"]) ? result["ms"]["p50"] : undefined;
    if (!(typeof p50 === "number" && p50 > 0)) fail(`results[${i}].ms.p50 is ${String(p50)}`);
  });
  return parsed as unknown as BenchFile;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
