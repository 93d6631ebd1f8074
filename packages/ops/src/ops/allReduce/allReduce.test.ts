/** @file allReduce, by example. */
import { expect, it } from "vitest";
import { f32, opOf } from "../../../test/run.ts";

it("is the identity on one device", () => {
  const x = f32(["T", 2], [1, 2]);
  expect(opOf("allReduce", { reduce: "sum" }).run([x])).toEqual(x);
});

it("sums, nothing else", () => {
  expect(() => opOf("allReduce", { reduce: "max" })).toThrow('expected one of "sum", got "max"');
});
