/** @file A profile's file: written by `mpk profile` and `mpk simulate`, read as untrusted input. */
import { z } from "zod";
import { inputError } from "./errors.ts";
import { readBounded } from "./files.ts";
import { narrow, parseJson, want } from "./json.ts";
import type { Profile } from "./profile.ts";

/** Four steps of an 80-layer model take a quarter of it. */
const mostBytes = 2 ** 29 - 24;

const nanos = z.number(want("a number of nanoseconds"));
const count = z.int(want("a whole number")).min(0, want("a number from 0"));
const text = z.string(want("a string"));

const machine = z.object({
  name: text, sms: count.min(1, want("at least 1 SM")).max(256, want("at most 256 SMs")),
  sharedBytes: count, memoryBytes: count, readBytesPerSecond: z.number(want("a number")).positive(),
  l2Bytes: count,
}, want("a machine"));

const schema = z.object({
  format: z.literal("mpk-profile", want('"mpk-profile"')),
  version: z.literal(1, want("1")),
  model: text,
  device: text,
  context: count,
  /** What the plan was made from; files of older versions do not say. */
  setting: z.object({
    machine, target: text, maxContext: count, maxTokens: count,
    plan: z.record(z.string(), z.union([z.string(), z.number()])),
  }, want("an object")).nullish(),
  simulated: z.object({ machine: text, source: text }, want("an object")).nullish(),
  steps: z.array(z.object({
    step: count,
    sms: z.array(z.object({
      sm: count, arrived: nanos, opened: nanos,
      instructions: z.array(z.object({
        sm: count, instruction: count, op: count, kind: text, scope: text,
        layer: count.nullable(), tileLo: count, tileHi: count, streamedBytes: count,
        start: nanos, ready: nanos, asked: nanos.nullable(), data: nanos.nullable(),
        consumed: nanos.nullable(), end: nanos, stalledNanos: nanos,
        // Files of older versions have neither.
        placed: nanos.nullable().default(null), stored: nanos.nullable().default(null),
      }, want("an instruction's times")), want("a list of instructions")),
    }, want("an SM's step")), want("a list of SMs")),
  }, want("a step")), want("a list of steps")).min(1, want("at least one step")),
  ringFull: z.array(
    z.array(z.object({ from: nanos, to: nanos }, want("from and to"))), want("a list of SMs"),
  ),
  ringFullCut: z.boolean(want("true or false")),
});

/** A profile with what its file says about it. */
export interface ProfileFile extends Profile {
  readonly model: string;
  readonly device: string;
  readonly context: number;
  readonly setting?: {
    readonly machine: z.infer<typeof machine>;
    readonly target: string;
    readonly maxContext: number;
    readonly maxTokens: number;
    readonly plan: Readonly<Record<string, string | number>>;
  } | null | undefined;
  readonly simulated?: { readonly machine: string; readonly source: string } | null | undefined;
}

const fix = "give the FILE.profile.json that `mpk profile --out` or `mpk simulate --out` wrote";

/**
 * The profile in a file, as untrusted input.
 * @throws MpkError (input) naming the file: not JSON, cut off, another format, a wrong field.
 */
export function readProfileFile(path: string): ProfileFile {
  return parseProfileFile(readBounded(path, mostBytes), path);
}

/** As `readProfileFile`, from bytes. `who`: named in errors. */
export function parseProfileFile(bytes: Uint8Array, who: string): ProfileFile {
  const json = parseJson(bytes, who, `${fix}; a file that ends too early was not written to its end`);
  if (typeof json === "object" && json !== null && "traceEvents" in json) {
    throw inputError(`${who}: is a Chrome trace, which has no marks`, `${fix}: it is beside the trace`);
  }
  return narrow(json, schema, who, fix);
}
