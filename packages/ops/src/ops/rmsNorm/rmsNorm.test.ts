/** @file rmsNorm, by law and example. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { bf16, f32, opOf, typed, values } from "../../../test/run.ts";

const numbers = fc.array(fc.double({ min: 0.1, max: 9, noNaN: true }), {
  minLength: 2,
  maxLength: 9,
});

it("does not change when x is scaled", () => {
  fc.assert(
    fc.property(numbers, fc.constantFrom(0.5, 2, 1024), (row, factor) => {
      const norm = opOf("rmsNorm", { eps: 1e-30, width: row.length });
      const gain = f32([row.length], row);
      const [a, b] = [1, factor].map((by) => {
        return values(norm.run([f32(["T", row.length], row.map((v) => v * by)), gain]));
      });
      a!.forEach((value, i) => expect(b![i]).toBeCloseTo(value, 5));
    }),
  );
});

it("norms each run by itself, then multiplies by the gain", () => {
  const norm = opOf("rmsNorm", { eps: 1e-12, width: 2 });
  const result = norm.run([f32(["T", 4], [3, 3, -5, 5]), bf16([2], [1, 2])]);
  expect(values(result)).toEqual([1, 2, -1, 2]);
});

it("says which width fits", () => {
  const { infer } = opOf("rmsNorm", { eps: 1e-5, width: 3 });
  const x = typed("f32", "T", 4);
  expect(() => infer(x, typed("bf16", 3))).toThrow("width 3 does not divide the 4 columns");
  expect(() => infer(typed("f32", "T", 6), typed("bf16", 6))).toThrow(
    "gain must be [3], got bf16 [6]; one number for each column of a run",
  );
});
