/** @file blockMax, by law and example. */
import { noToken } from "@mpk/ir";
import fc from "fast-check";
import { expect, it } from "vitest";
import { f32, opOf, typed } from "../../../test/run.ts";

const odd = fc.constantFrom(NaN, -Infinity);
const logits = fc.oneof(
  fc.array(fc.oneof(fc.integer({ min: -4, max: 4 }), odd), { minLength: 1, maxLength: 50 }),
  fc.array(odd, { minLength: 1, maxLength: 20 }),
);

it("spares the greedy choice a look at every logit, and never changes it", () => {
  fc.assert(
    fc.property(logits, fc.integer({ min: 1, max: 9 }), (row, block) => {
      const x = f32([1, row.length], row);
      const pairs = opOf("blockMax", { block }).run([x]);
      const sample = opOf("sample", {});
      expect(sample.run([x, pairs]).data).toEqual(sample.run([x]).data);
      const [chosen] = sample.run([x]).data;
      expect(chosen === noToken).toBe(row.every(Number.isNaN));
      if (chosen !== noToken) expect(opOf("argmax", {}).run([x]).data).toEqual(Int32Array.of(chosen ?? -1));
    }),
  );
});

it("gives pairs of a maximum and its column's bits", () => {
  const { data } = opOf("blockMax", { block: 2 }).run([f32([1, 5], [1, 1, 3, 9, -2])]);
  const columns = new Int32Array(data.buffer);
  expect([data[0], data[2], data[4]]).toEqual([1, 9, -2]);
  expect([columns[1], columns[3], columns[5]]).toEqual([0, 3, 4]);
});

it("wants one row", () => {
  const { infer } = opOf("blockMax", { block: 2 });
  expect(() => infer(typed("f32", "T", 4))).toThrow("take lastRow first");
});
