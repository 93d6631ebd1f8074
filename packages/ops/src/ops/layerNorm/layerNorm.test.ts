/** @file layerNorm, by law and example. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { bf16, f32, opOf, values } from "../../../test/run.ts";

it("gives mean 0 and variance 1 where gain is 1 and bias 0", () => {
  const row = fc.array(fc.integer({ min: -50, max: 50 }), { minLength: 3, maxLength: 30 });
  fc.assert(
    fc.property(row, (x) => {
      fc.pre(new Set(x).size > 1);
      const n = x.length;
      const norm = opOf("layerNorm", { eps: 1e-12, width: n });
      const [gain, bias] = [f32([n], x.map(() => 1)), f32([n], x.map(() => 0))];
      const y = values(norm.run([f32([1, n], x), gain, bias]));
      const mean = y.reduce((sum, v) => sum + v, 0) / n;
      expect(mean).toBeCloseTo(0, 3);
      expect(y.reduce((sum, v) => sum + v * v, 0) / n).toBeCloseTo(1, 3);
    }),
  );
});

it("multiplies by the gain and adds the bias", () => {
  const norm = opOf("layerNorm", { eps: 1e-12, width: 2 });
  const result = norm.run([f32(["T", 2], [3, 5]), bf16([2], [1, 2]), bf16([2], [10, 20])]);
  expect(values(result)).toEqual([9, 22]);
});
