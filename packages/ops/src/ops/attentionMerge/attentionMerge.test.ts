/** @file attentionMerge, by law and example. */
import { scheduleTable } from "@mpk/ops";
import fc from "fast-check";
import { expect, it } from "vitest";
import { benchOf, reference } from "../../../test/bench.ts";
import { caseTable } from "../../../test/cases.ts";
import { f32, opOf, typed, values } from "../../../test/run.ts";

const sizes = { heads: 1, kvHeads: 1, headDim: 2, splits: 2 };

it("makes of attention's parts what attention gives, whatever the number of splits", () => {
  fc.assert(
    fc.property(caseTable["attentionPart"]!, (own) => {
      const { splits, ...attrs } = own.attrs;
      const [parts] = reference(benchOf(scheduleTable.get("attentionPart")!, own, "bf16"));
      const whole = { ...own, attrs };
      const [expected] = reference(benchOf(scheduleTable.get("attention")!, whole, "bf16"));
      const { heads = 0, kvHeads = 0, headDim = 0 } = attrs;
      const merge = opOf("attentionMerge", { heads, kvHeads, headDim, splits: splits ?? 0 });
      const got = values(merge.run([parts!], { tokens: own.tokens }));
      expect(got).toHaveLength(expected!.data.length);
      got.forEach((x, i) => {
        expect(Math.abs(x - expected!.data[i]!)).toBeLessThan(1e-5 * (1 + Math.abs(x)));
      });
    }),
    { numRuns: 60 },
  );
});

it("weighs parts by 2^maximum, and looks at no values of a part without a sum", () => {
  const merge = opOf("attentionMerge", sizes);
  // Values, maximum, sum: 4 · 2^1 + 2 · 2^0 over 3 · 2^1 + 2 · 2^0.
  expect(values(merge.run([f32(["T", 8], [4, 0, 1, 3, 2, 8, 0, 2])]))).toEqual([1.25, 1]);
  expect(values(merge.run([f32(["T", 8], [NaN, NaN, -1e30, 0, 2, 8, 0, 2])]))).toEqual([1, 4]);
});

it("says what does not fit", () => {
  const { infer } = opOf("attentionMerge", sizes);
  expect(infer(typed("f32", "T", 8))).toEqual([typed("f32", "T", 2)]);
  expect(() => infer(typed("f32", "T", 6))).toThrow("parts must be f32 [T, 8], got f32 [T, 6]");
  const odd = opOf("attentionMerge", { ...sizes, heads: 3, kvHeads: 2 });
  expect(() => odd.infer(typed("f32", "T", 8))).toThrow("kvHeads: must divide heads, got 2 and 3");
});
