/** @file embedding, by example. */
import { expect, it } from "vitest";
import { bf16, i32, opOf, typed, values } from "../../../test/run.ts";

const table = bf16([3, 2], [1, 2, 3, 4, 5, 6]);

it("gives the table's row of each id", () => {
  const rows = opOf("embedding", {}).run([i32(["T"], [2, 0, 2]), table]);
  expect(values(rows)).toEqual([5, 6, 1, 2, 5, 6]);
  expect(rows.type).toEqual(typed("f32", "T", 2));
});

it("names an id outside of the table", () => {
  const look = (id: number) => () => opOf("embedding", {}).run([i32(["T"], [id]), table]);
  expect(look(3)).toThrow("token id 3 is out of range: the table has rows 0 to 2");
  expect(look(-1)).toThrow("token id -1 is out of range");
});

it("says what its inputs must be", () => {
  const { infer } = opOf("embedding", {});
  const ids = typed("i32", "T");
  expect(() => infer(typed("f32", "T"), typed("bf16", 3, 2))).toThrow("ids must be i32 [T]");
  expect(() => infer(ids, typed("bf16", 6))).toThrow("table must be [vocabulary, width]");
  expect(() => infer(ids)).toThrow("expected 2 inputs (ids, table), got 1");
});
