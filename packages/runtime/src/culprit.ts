/** @file Why no token could be chosen: the first weight that is no finite number, and who reads it. */
import type { Manifest, TensorPart } from "@mpk/cuda/manifest";
import { turn } from "./backend.ts";
import { isWeightDType, type WeightDType } from "./convert.ts";
import { noTokenError, type MpkError } from "./errors.ts";
import type { Weights } from "./weights.ts";

/** Where a tensor is used, in the order of the program. */
export interface Reader {
  readonly tensor: string;
  /** Such as `linear of layers.3.mlp`. */
  readonly by: string;
}

/** Streamed weights by op, then those that are read as they are. */
export function readersOf({ ops, pack, resident }: Manifest): readonly Reader[] {
  const named = (parts: readonly TensorPart[], by: string): readonly Reader[] =>
    parts.map(({ tensor }) => ({ tensor, by }));
  const streamed = [...pack].sort((a, b) => a.op - b.op).flatMap(({ op, groups }) => {
    const { kind = "op", scope = "" } = ops[op] ?? {};
    return groups.flatMap(({ parts }) => named(parts, `${kind} of ${scope || "the program"}`));
  });
  return [...resident.flatMap(({ value, parts }) => named(parts, `weight ${value}`)), ...streamed];
}

/** By format: a 32-bit word of the file, and which bits of it are the exponents of its elements. */
const exponents = {
  BF16: [0x7f80, 0x7f80_0000],
  F16: [0x7c00, 0x7c00_0000],
} as const satisfies Partial<Record<WeightDType, readonly number[]>>;

const elementBytes = { BF16: 2, F16: 2, F32: 4 } as const satisfies Record<WeightDType, number>;

/** The least float32, as bits, that is rounded to an infinite bf16. */
const beyondBf16 = 0x7f7f_8000;

/** The first element that is NaN or infinite, in the file or once it is bf16; -1: none. */
export function firstNonFinite(bytes: Uint8Array, dtype: WeightDType): number {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const words = new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >>> 2);
  if (dtype === "F32") {
    for (let i = 0; i < words.length; i++) {
      if (((words[i] ?? 0) & 0x7fff_ffff) >= beyondBf16) return i;
    }
    return -1;
  }
  const masks: readonly number[] = exponents[dtype];
  const [low = 0, high = low] = masks;
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? 0;
    if ((word & low) === low) return i * masks.length;
    if ((word & high) === high) return i * masks.length + masks.length - 1;
  }
  // Two bytes behind the last whole word.
  const rest = aligned.length % 4 === 0 ? 0 : (aligned.at(-1) ?? 0) << 8 | (aligned.at(-2) ?? 0);
  return rest !== 0 && (rest & low) === low ? words.length * masks.length : -1;
}

/** Bytes looked at between two looks at the clock. */
const pieceBytes = 2 ** 24;
/** An error should not be long in coming: some gigabytes are looked through in this time. */
const mostMillis = 1000;

/** What the weights have to say about logits that are not numbers, as the end of a sentence. */
export async function culpritOf(
  readers: readonly Reader[],
  weights: Weights,
  millis: number = mostMillis,
): Promise<string> {
  if (weights.random !== undefined) return "";
  const end = performance.now() + millis;
  for (const [i, { tensor, by }] of readers.entries()) {
    const found = weights.tensor(tensor);
    const { dtype, byteLength, shape } = found;
    if (!isWeightDType(dtype)) continue;
    for (let lo = 0; lo < byteLength; lo += pieceBytes) {
      const bytes = found.read(lo, Math.min(byteLength, lo + pieceBytes));
      const at = firstNonFinite(bytes, dtype);
      if (at >= 0) {
        const index = lo / elementBytes[dtype] + at;
        const columns = shape.at(-1) ?? 1;
        const place = shape.length < 2 ? index : `${Math.floor(index / columns)}, ${index % columns}`;
        const as = dtype === "F32" ? " once it is bf16" : "";
        return `: tensor "${tensor}" holds NaN or infinity at [${place}]${as}, read by ${by}`;
      }
      if (performance.now() > end) return `: none found in the first ${i} of ${readers.length} tensors`;
      await turn();
    }
  }
  return ", though all weights are finite";
}

/** The error of a launch that ended because no token could be chosen in step `step`. */
export async function explainNoToken(
  readers: readonly Reader[],
  weights: Weights,
  step: number,
  cause?: unknown,
): Promise<MpkError> {
  return noTokenError(`sample, step ${step}`, await culpritOf(readers, weights), cause);
}
