/** @file attentionPart, by law and example. That parts merge to attention: see attentionMerge. */
import { createKvState } from "@mpk/ir";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { f32, i32, opOf, typed, values } from "../../../test/run.ts";
import { packing } from "./packing.ts";
import { noScore, splitOf, unitKeys } from "./semantics.ts";
import { chunksOf } from "./work.ts";

const attrs = {
  heads: 2, kvHeads: 1, headDim: 2, scale: 1, window: null, qkNorm: null, rope: null, splits: 3,
};

describe("positions", () => {
  const steps = fc.record({ splits: fc.integer({ min: 1, max: 70 }), start: fc.nat(9000) });

  it("of full units fall to splits evenly, and split 0 has no more than the others", () => {
    fc.assert(
      fc.property(steps, ({ splits, start }) => {
        const units = new Array<number>(splits).fill(0);
        const full = Math.floor(start / unitKeys);
        for (let unit = 0; unit < full; unit++) {
          const own = splitOf(splits, unit * unitKeys, start);
          expect(splitOf(splits, unit * unitKeys + unitKeys - 1, start)).toBe(own);
          units[own]!++;
        }
        expect(Math.max(...units) - Math.min(...units)).toBeLessThanOrEqual(1);
        expect(units[0]).toBe(Math.min(...units));
      }),
      { numRuns: 50 },
    );
  });

  it("of the step, and those before it in the same unit, fall to split 0", () => {
    fc.assert(
      fc.property(steps, fc.nat(200), ({ splits, start }, more) => {
        const first = start - (start % unitKeys);
        expect(splitOf(splits, first, start)).toBe(0);
        expect(splitOf(splits, start + more, start)).toBe(0);
      }),
    );
  });
});

it("takes no more chunks through the ring than it says, whatever the step", () => {
  const steps = fc.record({
    splits: fc.integer({ min: 1, max: 64 }), group: fc.integer({ min: 1, max: 12 }),
    headDim: fc.constantFrom(16, 48, 64, 80, 128, 144, 256), tokens: fc.integer({ min: 1, max: 64 }),
    start: fc.nat(9000),
  });
  const ring = { chunkBytes: 8192, consumerWarps: 8, stages: 8, activationBytes: 0, partialBytes: 0 };
  fc.assert(
    fc.property(steps, ({ splits, group, headDim, tokens, start }) => {
      const own = { ...attrs, splits, headDim, heads: group, kvHeads: 1 };
      const op = { kind: "attentionPart", attrs: own, inputs: [], outputs: [], maxTokens: tokens };
      const most = packing.cachedChunks?.(op, ring, start + tokens) ?? 0;
      // As PartChunks of past.cuh counts those of split 0.
      const { keys, pieces } = chunksOf(headDim, ring.chunkBytes);
      const fresh = Math.floor(start / unitKeys);
      const past = Math.floor(fresh / splits) * (unitKeys / keys);
      const chunks = past + Math.ceil((start + tokens - fresh * unitKeys) / keys);
      const numbers = pieces === 1 ? chunks : Math.ceil(chunks / 8) * 16;
      expect(numbers * Math.ceil((tokens * group) / 8)).toBeLessThanOrEqual(most);
    }),
    { numRuns: 300 },
  );
});

it("gives weighted values, then maximum and sum, and sum 0 where there are no positions", () => {
  const state = createKvState({ kvHeads: 1, headDim: 2 }, "f32");
  const inputs = [
    f32(["T", 4], [0, 0, 0, 0]), f32(["T", 2], [1, 1]), f32(["T", 2], [3, 5]), i32(["T"], [0]),
  ];
  const got = values(opOf("attentionPart", attrs).run(inputs, {}, state));
  const none = [0, 0, 0, 0, noScore, 0, noScore, 0].map(Math.fround);
  expect(got).toEqual([3, 5, 3, 5, 0, 1, 0, 1, ...none, ...none]);
  expect([state.k(0), state.v(0)]).toEqual([Float32Array.of(1, 1), Float32Array.of(3, 5)]);
});

it("says what does not fit, as attention does", () => {
  const { infer } = opOf("attentionPart", attrs);
  const [q, k, positions] = [typed("f32", "T", 4), typed("f32", "T", 2), typed("i32", "T")];
  expect(infer(q, k, k, positions)).toEqual([typed("f32", "T", 24)]);
  expect(() => infer(q, q, k, positions)).toThrow("k must be [T, 2], 1 heads of 2, got f32 [T, 4]");
  expect(() => opOf("attentionPart", { ...attrs, splits: 0 })).toThrow("attribute splits");
});
