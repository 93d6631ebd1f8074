/** @file softmax, by law and example. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { f32, opOf, typed, values } from "../../../test/run.ts";

const row = fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 1, maxLength: 40 });

it("sums to 1 and does not change when a number is added to all", () => {
  fc.assert(
    fc.property(row, fc.integer({ min: -500, max: 500 }), (x, shift) => {
      const softmax = opOf("softmax", { width: x.length });
      const p = values(softmax.run([f32([1, x.length], x)]));
      expect(p.reduce((sum, v) => sum + v, 0)).toBeCloseTo(1, 5);
      const shifted = softmax.run([f32([1, x.length], x.map((v) => v + shift))]);
      expect(values(shifted)).toEqual(p);
    }),
  );
});

it("treats each run by itself", () => {
  const result = opOf("softmax", { width: 2 }).run([f32(["T", 4], [5, 5, 0, Math.log(3)])]);
  expect(values(result).map((v) => Number(v.toFixed(6)))).toEqual([0.5, 0.5, 0.25, 0.75]);
});

it("says which width fits", () => {
  const { infer } = opOf("softmax", { width: 3 });
  expect(() => infer(typed("f32", "T", 4))).toThrow("width 3 does not divide the 4 columns");
});
