/** @file blockSquares, by law and example. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { f32, opOf, typed, values } from "../../../test/run.ts";

it("sums to the squares of a row, whatever the block", () => {
  const rows = fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(rows, fc.integer({ min: 1, max: 50 }), (row, block) => {
      const sums = values(opOf("blockSquares", { block }).run([f32(["T", row.length], row)]));
      expect(sums).toHaveLength(Math.ceil(row.length / block));
      expect(sums.reduce((a, b) => a + b, 0)).toBe(row.reduce((sum, x) => sum + x * x, 0));
    }),
  );
});

it("gives a number for each block of each row", () => {
  const sums = opOf("blockSquares", { block: 2 }).run([f32(["T", 3], [1, 2, 3, 4, 5, 6])]);
  expect(sums.type).toEqual(typed("f32", "T", 2));
  expect(values(sums)).toEqual([5, 9, 41, 36]);
});
