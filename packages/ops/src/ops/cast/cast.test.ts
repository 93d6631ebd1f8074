/** @file cast, by example. */
import { expect, it } from "vitest";
import { f32, i32, opOf, typed, values } from "../../../test/run.ts";

it("rounds to bf16 to nearest even, at precision bf16 only", () => {
  const x = f32(["T", 3], [1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -9]);
  const cast = opOf("cast", { to: "bf16" });
  expect(values(cast.run([x], { precision: "bf16" }))).toEqual([1, 1 + 2 ** -6, 1]);
  expect(values(cast.run([x], { precision: "f32" }))).toEqual(values(x));
});

it("drops the fraction to i32, and is exact from it", () => {
  expect(values(opOf("cast", { to: "i32" }).run([f32(["T", 2], [2.9, -2.9])]))).toEqual([2, -2]);
  expect(values(opOf("cast", { to: "f32" }).run([i32(["T"], [7])]))).toEqual([7]);
});

it("refuses a vector of weights, and an unknown format", () => {
  expect(() => opOf("cast", { to: "f32" }).infer(typed("bf16", 4))).toThrow(
    "x must be [T, ...] or [1, ...], got bf16 [4]",
  );
  const formats = 'expected one of "f32", "bf16", "i32", got "f16"';
  expect(() => opOf("cast", { to: "f16" })).toThrow(formats);
});
