/**
 * @file Random weights: each element follows from seed, tensor name and place alone, so that a GPU,
 * this host and bench/random_weights.py give the same bits. Pure.
 */
import { bf16BitsOf, philox, type Program } from "@mpk/ir";
import { inputError } from "./errors.ts";
import type { StoredTensor } from "./safetensors.ts";
import type { Weights } from "./weights.ts";

/** An element is center + scale * (sum of four random bytes - 510): nearly normal, and exact. */
export interface Spread {
  readonly center: number;
  readonly scale: number;
}

/** Standard deviation of the sum of four bytes. */
const byteSumDeviation = Math.sqrt((4 * (256 ** 2 - 1)) / 12);

/**
 * As models are initialized: matrices vary by 1 / sqrt(columns), so that activations keep their size.
 * Gains are near 1 and no bias is 0, so that a dropped one shows.
 */
export function spreadOf(columns: number): Spread {
  const [center, deviation] = columns === 1 ? [1, 0.1] : [0, columns ** -0.5];
  return { center, scale: Math.fround(deviation / byteSumDeviation) };
}

/** Of rows in a KV cache. */
export const cacheSpread: Spread = { center: 0, scale: Math.fround(1 / byteSumDeviation) };

/** A tensor's word of the counter: FNV-1a of its name, 32 bits. */
export function tensorWord(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** A seed as Philox's two key words. */
export function keyOf(seed: bigint): readonly [number, number] {
  const bits = BigInt.asUintN(64, seed);
  return [Number(bits & 0xffff_ffffn), Number(bits >> 32n)];
}

/** Elements [lo, hi) of a tensor, as bf16 bits. */
export function randomBits(
  seed: bigint,
  tensor: string,
  { center, scale }: Spread,
  lo: number,
  hi: number,
): Uint16Array {
  const [key, word] = [keyOf(seed), tensorWord(tensor)];
  const out = new Uint16Array(hi - lo);
  for (let group = Math.floor(lo / 4); group * 4 < hi; group++) {
    const words = philox([group >>> 0, Math.floor(group / 2 ** 32), word, 0], key);
    words.forEach((w, i) => {
      const at = group * 4 + i - lo;
      if (at < 0 || at >= out.length) return;
      const sum = (w & 255) + ((w >>> 8) & 255) + ((w >>> 16) & 255) + (w >>> 24);
      const scaled = Math.fround(scale * (sum - 510));
      out[at] = bf16BitsOf(Math.fround(center + scaled));
    });
  }
  return out;
}

/** Random weights for a program; `random` lets a GPU make them itself. */
export function randomWeights(program: Program, seed: bigint): Weights {
  const tensors = new Map<string, StoredTensor>();
  for (const { value, parts } of program.weights) {
    const inner = program.values[value]?.type.shape.slice(1).map(Number) ?? [];
    for (const { tensor, rows } of parts) {
      tensors.set(tensor, storedOf(tensor, [rows, ...inner], seed));
    }
  }
  const tensor = (name: string): StoredTensor => {
    const found = tensors.get(name);
    if (found !== undefined) return found;
    throw inputError(`random weights: the model has no tensor ${JSON.stringify(name)}`, "name one");
  };
  return {
    bytes: [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0),
    names: [...tensors.keys()],
    random: { seed },
    has: (name) => tensors.has(name),
    tensor,
    expect(name, shape) {
      const found = tensor(name);
      if (shape.join() === found.shape.join()) return found;
      throw inputError(
        `random weights: ${name} is [${found.shape.join(", ")}], expected [${shape.join(", ")}]`,
        "make them for the program that runs",
      );
    },
    close: () => undefined,
  };
}

function storedOf(name: string, shape: readonly number[], seed: bigint): StoredTensor {
  const elements = shape.reduce((a, b) => a * b, 1);
  const spread = spreadOf(shape.slice(1).reduce((a, b) => a * b, 1));
  return {
    name, file: "random weights", dtype: "BF16", shape, byteLength: 2 * elements,
    read(lo = 0, hi = 2 * elements) {
      const bits = randomBits(seed, name, spread, Math.floor(lo / 2), Math.ceil(hi / 2));
      return new Uint8Array(bits.buffer).subarray(lo % 2, (lo % 2) + hi - lo);
    },
  };
}
