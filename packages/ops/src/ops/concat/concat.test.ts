/** @file concat, by law and example. */
import { expect, it } from "vitest";
import { f32, opOf, typed, values } from "../../../test/run.ts";

const [a, b] = [f32(["T", 1], [1, 2]), f32(["T", 2], [3, 4, 5, 6])];

it("puts columns side by side", () => {
  const whole = opOf("concat", {}).run([a, b]);
  expect(values(whole)).toEqual([1, 3, 4, 2, 5, 6]);
});

it("is undone by slice", () => {
  const whole = opOf("concat", {}).run([a, b]);
  expect(opOf("slice", { start: 0, size: 1 }).run([whole])).toEqual(a);
  expect(opOf("slice", { start: 1, size: 2 }).run([whole])).toEqual(b);
});

it("names a part that does not fit", () => {
  const { infer } = opOf("concat", {});
  expect(() => infer(typed("f32", "T", 1), typed("bf16", "T", 1))).toThrow(
    "part 1 must be f32 with first dim T as part 0, got bf16 [T, 1]",
  );
});
