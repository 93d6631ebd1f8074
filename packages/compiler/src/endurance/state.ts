/** @file What a soak has seen so far, as a file that the next part goes on from. */
import { bf16FromBits, toBf16Bits } from "@mpk/ir";
import { inputError, parseJson, readBounded } from "@mpk/runtime";
import type { MemoryGrowth } from "./memory.ts";

/** Logits of one token, kept to be held to a reference later, on any machine. */
export interface SoakSample {
  /** Generation that it is of. */
  readonly generation: number;
  /** All tokens before it. */
  readonly ids: readonly number[];
  /** The row as bf16, base64. */
  readonly logits: string;
  /** Relative distance from the reference; null: not compared yet. */
  readonly error: number | null;
}

export interface SoakState {
  readonly format: "mpk-soak";
  readonly version: 1;
  /** What is soaked: a part of another model or context does not fit. */
  readonly model: string;
  readonly device: string;
  readonly seed: number;
  readonly maxContext: number;
  readonly vocab: number;
  readonly tokens: number;
  readonly generations: number;
  readonly parts: number;
  readonly millis: number;
  /** Generations by how they ended. */
  readonly endings: Readonly<Record<string, number>>;
  /** Tokens whose logits were compared with those of another way to them. */
  readonly checked: number;
  readonly worstError: number;
  /** The same request from time to time: how often, and what it gives. */
  readonly canaries: number;
  readonly canary: string | null;
  /** The most that memory grew in any one part, bytes. */
  readonly growth: MemoryGrowth;
  readonly samples: readonly SoakSample[];
  readonly failures: readonly string[];
}

/** A soak that has generated nothing yet. */
export const newState = (
  what: Pick<SoakState, "model" | "device" | "seed" | "maxContext" | "vocab">,
): SoakState => ({
  format: "mpk-soak", version: 1, ...what, tokens: 0, generations: 0, parts: 0, millis: 0,
  endings: {}, checked: 0, worstError: 0, canaries: 0, canary: null,
  growth: { host: 0, device: 0 }, samples: [], failures: [],
});

export function sampleOf(generation: number, ids: readonly number[], row: Float32Array): SoakSample {
  const bits = toBf16Bits(row);
  const bytes = new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength);
  return { generation, ids, logits: Buffer.from(bytes).toString("base64"), error: null };
}

/** The logits of a sample. */
export function rowOf({ logits }: SoakSample): Float32Array {
  const bytes = Uint8Array.from(Buffer.from(logits, "base64"));
  return Float32Array.from(new Uint16Array(bytes.buffer, 0, bytes.length >> 1), bf16FromBits);
}

/** A thousand samples of a vocabulary of 8,192 have a quarter of it. */
const mostBytes = 128 * 2 ** 20;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isCount = (value: unknown): boolean => typeof value === "number" && value >= 0;
const isIds = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every((id) => Number.isInteger(id));

const isSample = (value: unknown): boolean =>
  isRecord(value) && isCount(value["generation"]) && isIds(value["ids"]) &&
  typeof value["logits"] === "string" && (value["error"] === null || isCount(value["error"]));

/** Every field of a state, and what it must hold. */
const fields = {
  format: (value) => value === "mpk-soak",
  version: (value) => value === 1,
  model: (value) => typeof value === "string",
  device: (value) => typeof value === "string",
  seed: isCount,
  maxContext: isCount,
  vocab: isCount,
  tokens: isCount,
  generations: isCount,
  parts: isCount,
  millis: isCount,
  endings: (value) => isRecord(value) && Object.values(value).every(isCount),
  checked: isCount,
  worstError: isCount,
  canaries: isCount,
  canary: (value) => value === null || typeof value === "string",
  growth: (value) =>
    isRecord(value) && typeof value["host"] === "number" && typeof value["device"] === "number",
  samples: (value) => Array.isArray(value) && value.every(isSample),
  failures: (value) => Array.isArray(value) && value.every((one) => typeof one === "string"),
} as const satisfies Record<keyof SoakState, (value: unknown) => boolean>;

/** Reads a state as untrusted input. @throws MpkError (input) naming `who` and the field. */
export function parseSoakState(bytes: Uint8Array, who: string): SoakState {
  const fix = "give a file that `mpk soak --state` wrote, or another name";
  const parsed = parseJson(bytes, who, fix);
  if (!isRecord(parsed)) throw inputError(`${who}: is no soak`, fix);
  for (const [name, isGood] of Object.entries(fields)) {
    if (!isGood(parsed[name])) throw inputError(`${who}: ${name} is missing or wrong`, fix);
  }
  return parsed as unknown as SoakState;
}

/** What a soak kept, as untrusted input. @throws MpkError (input) naming file and field. */
export const readSoakState = (path: string): SoakState =>
  parseSoakState(readBounded(path, mostBytes), path);
