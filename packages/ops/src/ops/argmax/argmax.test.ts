/** @file argmax, by example. */
import { expect, it } from "vitest";
import { f32, opOf, typed, values } from "../../../test/run.ts";

const argmax = opOf("argmax", {});

it("finds each row's maximum, the lowest column among equals", () => {
  const result = argmax.run([f32(["T", 3], [1, 7, 7, -2, -3, -1])]);
  expect(result.type).toEqual(typed("i32", "T"));
  expect(values(result)).toEqual([1, 2]);
});

it("never finds NaN, and says so where there is nothing else", () => {
  expect(values(argmax.run([f32([1, 3], [NaN, -Infinity, -5])]))).toEqual([2]);
  expect(values(argmax.run([f32([1, 3], [NaN, -Infinity, -Infinity])]))).toEqual([1]);
  expect(() => argmax.run([f32(["T", 2], [1, 2, NaN, NaN])])).toThrow(/no token could be chosen/);
});
