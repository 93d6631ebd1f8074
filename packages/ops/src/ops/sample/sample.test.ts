/** @file sample, by law and example: choices follow probabilities, and rest on the seed. */
import { noToken, philox, type Sampling } from "@mpk/ir";
import { chooseToken, expWeight } from "@mpk/ops/semantics";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { f32, opOf, typed } from "../../../test/run.ts";

const plain: Sampling = { temperature: 1, topK: 0, topP: 1, seed: 1n };
const logits = fc
  .array(fc.double({ min: -8, max: 8, noNaN: true }), { minLength: 1, maxLength: 60 })
  // Adding 0 makes -0 a 0: they are equal, but `toBe` tells them apart.
  .map((list) => Float32Array.from(list, (x) => Math.fround(x) + 0));

/** How often each token is chosen, over positions 0 to `draws`. */
function counts(row: Float32Array, sampling: Sampling, draws: number): Float64Array {
  const out = new Float64Array(row.length);
  for (let position = 0; position < draws; position++) {
    out[chooseToken(row, sampling, position)]! += 1;
  }
  return out;
}

/** Ids by descending logit, the lower first among equals. */
const ranked = (row: Float32Array): number[] =>
  [...row.keys()].sort((a, b) => row[b]! - row[a]! || a - b);

describe("philox", () => {
  it("gives the words published with it", () => {
    const hex = (words: readonly number[]): string =>
      words.map((word) => word.toString(16).padStart(8, "0")).join(" ");
    const [zero, ones] = [0, 0xffffffff];
    expect(hex(philox([zero, zero, zero, zero], [zero, zero]))).toBe(
      "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    );
    expect(hex(philox([ones, ones, ones, ones], [ones, ones]))).toBe(
      "408f276d 41c83b0e a20bc7c6 6d5451fd",
    );
    const pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344] as const;
    expect(hex(philox(pi, [0xa4093822, 0x299f31d0]))).toBe("d16cfe09 94fdcceb 5001e420 24126ea1");
  });
});

describe("expWeight", () => {
  it("is 2^32 · exp(x) but for the fraction", () => {
    fc.assert(
      fc.property(fc.double({ min: -22, max: 0, noNaN: true }), (wide) => {
        const x = Math.fround(wide);
        const exact = 2 ** 32 * Math.exp(x);
        expect(Math.abs(expWeight(x) - exact)).toBeLessThanOrEqual(1 + exact * 2 ** -22);
      }),
      { numRuns: 1000 },
    );
    expect(expWeight(0)).toBe(2 ** 32);
    expect([-Infinity, NaN, -23].map(expWeight)).toEqual([0, 0, 0]);
  });
});

describe("chooseToken", () => {
  it("takes the best token at temperature 0, with top-k 1, and with a tiny top-p", () => {
    fc.assert(
      fc.property(logits, fc.nat(9), (row, position) => {
        const best = ranked(row)[0];
        const choose = (own: Partial<Sampling>): number =>
          chooseToken(row, { ...plain, ...own }, position);
        expect(choose({ temperature: 0 })).toBe(best);
        expect(choose({ topP: 1e-9 })).toBe(best);
        expect(row[choose({ topK: 1 })]).toBe(row[best!]);
      }),
    );
  });

  it("stays within the k best, and within the fewest best that hold p of the probability", () => {
    const settings = fc.record({
      topK: fc.integer({ min: 1, max: 9 }),
      topP: fc.double({ min: 0.1, max: 0.99, noNaN: true }),
    });
    fc.assert(
      fc.property(logits, settings, fc.nat(99), (row, { topK, topP }, position) => {
        const kth = row[ranked(row)[Math.min(topK, row.length) - 1]!]!;
        const byK = chooseToken(row, { ...plain, topK }, position);
        expect(row[byK]).toBeGreaterThanOrEqual(kth);
        const byP = chooseToken(row, { ...plain, topP }, position);
        const total = row.reduce((sum, x) => sum + Math.exp(x), 0);
        const order = ranked(row);
        const before = order.slice(0, order.indexOf(byP));
        const mass = before.reduce((sum, id) => sum + Math.exp(row[id]!), 0) / total;
        expect(mass).toBeLessThan(topP + 1e-6);
      }),
    );
  });

  it("follows the probabilities", () => {
    const row = Float32Array.of(0, 1, 2, -1);
    const draws = 20_000;
    const seen = counts(row, { ...plain, temperature: 2 }, draws);
    const weights = [...row].map((x) => Math.exp(x / 2));
    const total = weights.reduce((sum, w) => sum + w, 0);
    // Chi-squared with 3 degrees of freedom: above 16.3 once in 1000 seeds; the seed is fixed.
    const chi = weights.reduce((sum, w, id) => {
      const expected = (draws * w) / total;
      return sum + (seen[id]! - expected) ** 2 / expected;
    }, 0);
    expect(chi).toBeLessThan(16.3);
  });

  it("rests on seed and position alone, on all 64 bits of the seed", () => {
    const row = new Float32Array(1000);
    const run = (seed: bigint): number[] =>
      Array.from({ length: 8 }, (_, position) => chooseToken(row, { ...plain, seed }, position));
    expect(run(5n)).toEqual(run(5n));
    expect(run(5n)).not.toEqual(run(6n));
    expect(run(5n)).not.toEqual(run(5n + 2n ** 32n));
    expect(new Set(run(5n)).size).toBeGreaterThan(4);
  });

  it("keeps ties of the k-th token, and the lowest ids among equals in top-p", () => {
    const row = new Float32Array(4);
    expect(counts(row, { ...plain, topK: 2 }, 200).every((seen) => seen > 0)).toBe(true);
    const half = counts(row, { ...plain, topP: 0.5 }, 200);
    expect([...half.subarray(0, 2)].every((seen) => seen > 0)).toBe(true);
    expect([...half.subarray(2)]).toEqual([0, 0]);
  });

  it("never takes NaN or -Infinity, and says so where there is nothing else", () => {
    const row = Float32Array.of(NaN, -Infinity, 0, NaN);
    expect(counts(row, plain, 50)[2]).toBe(50);
    expect(chooseToken(Float32Array.of(NaN, NaN), plain, 0)).toBe(noToken);
    expect(chooseToken(Float32Array.of(NaN, -Infinity), plain, 0)).toBe(1);
  });
});

it("wants the last row of logits", () => {
  const { infer, run } = opOf("sample", {});
  expect(() => infer(typed("f32", "T", 8))).toThrow(
    "logits must be [1, V], got f32 [T, 8]; take lastRow first",
  );
  expect(run([f32([1, 3], [0, 2, 1])]).data).toEqual(Int32Array.of(1));
});
