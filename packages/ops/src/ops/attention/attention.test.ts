/** @file attention, by law and example. */
import { createKvState } from "@mpk/ir";
import type { KvState, Tensor } from "@mpk/ir";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { f32, i32, opOf, typed, values } from "../../../test/run.ts";
import type { Attrs } from "../../../test/run.ts";

const attrs = {
  heads: 2,
  kvHeads: 1,
  headDim: 2,
  scale: 1,
  window: null,
  qkNorm: null,
  rope: null,
} satisfies Attrs;

const cache = (): KvState => createKvState({ kvHeads: 1, headDim: 2 }, "f32");

interface Rows {
  readonly q: readonly number[];
  readonly k: readonly number[];
  readonly v: readonly number[];
}

/** Runs tokens [from, to) of a sequence as one step. */
function attend(own: Attrs, state: KvState, { q, k, v }: Rows, from: number, to: number): Tensor {
  const positions = Array.from({ length: to - from }, (_, i) => from + i);
  const inputs = [
    f32(["T", 4], q.slice(4 * from, 4 * to)),
    f32(["T", 2], k.slice(2 * from, 2 * to)),
    f32(["T", 2], v.slice(2 * from, 2 * to)),
    i32(["T"], positions),
  ];
  return opOf("attention", own).run(inputs, {}, state);
}

const sequences = fc.integer({ min: 2, max: 9 }).chain((tokens) => {
  const numbers = (width: number): fc.Arbitrary<number[]> =>
    fc.array(fc.double({ min: -2, max: 2, noNaN: true }), {
      minLength: width * tokens,
      maxLength: width * tokens,
    });
  return fc.record({ tokens: fc.constant(tokens), q: numbers(4), k: numbers(2), v: numbers(2) });
});

describe("attention", () => {
  it("gives the same rows however a sequence is cut into steps", () => {
    const window = fc.constantFrom(null, 1, 2, 5);
    const rope = { headDim: 2, theta: 100, scaling: { kind: "none" } };
    fc.assert(
      fc.property(sequences, window, fc.nat(7), (rows, own, at) => {
        const op = { ...attrs, window: own, rope };
        const whole = values(attend(op, cache(), rows, 0, rows.tokens));
        const cut = 1 + (at % (rows.tokens - 1));
        const state = cache();
        const first = values(attend(op, state, rows, 0, cut));
        expect([...first, ...values(attend(op, state, rows, cut, rows.tokens))]).toEqual(whole);
      }),
    );
  });

  it("copies v where a token sees itself alone", () => {
    fc.assert(
      fc.property(sequences, (rows) => {
        const alone = values(attend({ ...attrs, window: 1 }, cache(), rows, 0, rows.tokens));
        const expected = Array.from({ length: rows.tokens }, (_, t) => {
          // Adding 0 makes -0 the 0 that a sum gives.
          const v = rows.v.slice(2 * t, 2 * t + 2).map((x) => Math.fround(x) + 0);
          return [...v, ...v];
        });
        expect(alone).toEqual(expected.flat());
      }),
    );
  });

  it("weighs what a token sees by exp(scale · q · k)", () => {
    // The query picks the key at position 1 with weight e / (e + 1).
    const rows = { q: [0, 0, 0, 0, 1, 0, 0, 0], k: [0, 0, 1, 0], v: [0, 0, 1, 1] };
    const [, , , , likely, , even] = values(attend(attrs, cache(), rows, 0, 2));
    expect(likely).toBeCloseTo(Math.E / (Math.E + 1), 6);
    expect(even).toBe(0.5);
  });

  it("stores keys and values as bf16 at precision bf16", () => {
    const fine = 1 + 2 ** -12;
    const [q, kv] = [f32(["T", 4], [0, 0, 0, 0]), f32(["T", 2], [fine, 0])];
    const state = cache();
    const step = { precision: "bf16" } as const;
    const result = opOf("attention", attrs).run([q, kv, kv, i32(["T"], [0])], step, state);
    expect(state.k(0)[0]).toBe(1);
    expect(values(result)[0]).toBe(1);
  });
});

it("says what does not fit", () => {
  const { infer } = opOf("attention", attrs);
  const [q, k, positions] = [typed("f32", "T", 4), typed("f32", "T", 2), typed("i32", "T")];
  expect(infer(q, k, k, positions)).toEqual([typed("f32", "T", 4)]);
  expect(() => infer(q, q, k, positions)).toThrow("k must be [T, 2], 1 heads of 2, got f32 [T, 4]");
  expect(() => infer(q, k, k)).toThrow("expected 4 inputs (q, k, v, positions), got 3");
  const parse = (own: Attrs) => () => opOf("attention", { ...attrs, ...own });
  expect(parse({ heads: 3, kvHeads: 2 })).toThrow("kvHeads: must divide heads, got 2 and 3");
  const rope = { headDim: 4, theta: 1e4, scaling: { kind: "none" } };
  expect(parse({ rope })).toThrow("attribute rope.headDim: must be headDim 2, got 4");
  const other = createKvState({ kvHeads: 2, headDim: 2 }, "f32");
  const rows = { q: [0, 0, 0, 0], k: [0, 0], v: [0, 0] };
  expect(() => attend(attrs, other, rows, 0, 1)).toThrow(
    "the KV state must hold 1 heads of 2, it has 2 of 2",
  );
});
