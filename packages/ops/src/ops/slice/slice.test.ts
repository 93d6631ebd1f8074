/** @file slice, by example. */
import { expect, it } from "vitest";
import { f32, opOf, typed, values } from "../../../test/run.ts";

it("takes columns of every row", () => {
  const x = f32(["T", 3], [1, 2, 3, 4, 5, 6]);
  expect(values(opOf("slice", { start: 1, size: 2 }).run([x]))).toEqual([2, 3, 5, 6]);
});

it("names columns outside of x", () => {
  expect(() => opOf("slice", { start: 2, size: 2 }).infer(typed("f32", "T", 3))).toThrow(
    "slice of columns 2 to 4 is outside x, which has 3 columns",
  );
  expect(() => opOf("slice", { start: -1, size: 2 })).toThrow(
    "attribute start: expected an integer of 0 or more, got -1",
  );
});
