/** @file reshape, by example. */
import { expect, it } from "vitest";
import { f32, opOf, typed, values } from "../../../test/run.ts";

it("changes dims behind the first, not numbers", () => {
  const x = f32(["T", 4], [1, 2, 3, 4]);
  const result = opOf("reshape", { shape: ["T", 2, 2] }).run([x]);
  expect(result.type).toEqual(typed("f32", "T", 2, 2));
  expect(values(result)).toEqual([1, 2, 3, 4]);
});

it("says what must stay", () => {
  const of = (...shape: ("T" | number)[]) => () => {
    return opOf("reshape", { shape }).infer(typed("f32", "T", 4));
  };
  expect(of("T", 3)).toThrow("shape must keep the 4 columns of f32 [T, 4], got 3 columns");
  expect(of(1, 4)).toThrow("shape must keep the first dim T, got f32 [1, 4]");
  expect(of(4, "T")).toThrow("T must be the first dim");
});
