/** @file pointwise, by example. */
import type { Expr } from "@mpk/ir";
import { expect, it } from "vitest";
import { bf16, f32, opOf, typed, values } from "../../../test/run.ts";

const sum: Expr = { op: "add", x: { op: "arg", index: 0 }, y: { op: "arg", index: 1 } };
const add = opOf("pointwise", { expr: sum, out: "f32" });
const x = f32(["T", 2], [1, 2, 3, 4]);

it("applies its expression at every element, broadcasting rows and numbers", () => {
  expect(values(add.run([x, f32(["T", 2], [10, 20, 30, 40])]))).toEqual([11, 22, 33, 44]);
  expect(values(add.run([x, bf16([2], [10, 20])]))).toEqual([11, 22, 13, 24]);
  expect(values(add.run([f32([1], [100]), x]))).toEqual([101, 102, 103, 104]);
});

it("gives its result in the format asked for", () => {
  const to = (out: string) => opOf("pointwise", { expr: { op: "arg", index: 0 }, out });
  const fine = f32(["T", 1], [2.75 + 2 ** -12]);
  expect(values(to("i32").run([fine]))).toEqual([2]);
  expect(values(to("bf16").run([fine], { precision: "bf16" }))).toEqual([2.75]);
  expect(to("bf16").run([fine]).type).toEqual(typed("bf16", "T", 1));
});

it("says what does not fit", () => {
  const full = typed("f32", "T", 2);
  expect(() => add.infer(full, typed("f32", "T", 3))).toThrow(
    "input 1 must be [T, 2], [2] or [1] to match f32 [T, 2], got f32 [T, 3]",
  );
  expect(() => add.infer(full, typed("f32", 1, 2))).toThrow("input 1 must be [T, 2]");
  expect(() => add.infer(full)).toThrow("expr uses argument 1, but there are 1 inputs");
  const vector = typed("bf16", 2);
  expect(() => add.infer(vector, vector)).toThrow("one input must be [T, N] or [1, N]");
});
