/** @file The toy table's stateful op and its effect: a KV mix and a token choice. */
import { ShapeError } from "@mpk/ir";
import type { Json, Tensor, Traits } from "@mpk/ir";
import type { OpInstance, OpSchedule } from "../contracts.ts";
import { columnsOf } from "../planner/shapes.ts";
import { wrap } from "./wrap.ts";

interface MixAttrs {
  readonly heads: number;
  readonly width: number;
}

const traits: Traits = {
  pointwise: false, contraction: false, rowNorm: false, view: false, cast: false,
  stateful: true, effect: false,
};

/** What one past (or present) position adds: keys weighted by distance, plus its value. */
function term(k: number, v: number, distance: number): number {
  return k * (1 + (distance % 3)) + v;
}

/**
 * x [T, heads * width], positions i32 [T]; one KV state of `heads` heads. Appends k = x, v = 2x,
 * then out[t] = wrap(sum over positions p <= position of t of k_p * (1 + distance % 3) + v_p).
 * A tile is one head.
 */
export const mix: OpSchedule<MixAttrs> = {
  semantics: {
    name: "mix",
    summary: "A causal sum over all positions, through a KV state.",
    traits,
    parseAttrs(attrs: { readonly [key: string]: Json }): MixAttrs {
      const { heads, width } = attrs;
      if (typeof heads !== "number" || typeof width !== "number") {
        throw new ShapeError("heads and width must be numbers");
      }
      return { heads, width };
    },
    infer: (attrs) => [{ dtype: "f32", shape: ["T", attrs.heads * attrs.width] }],
    evaluate(attrs, [x, positions], ctx, [stateId]) {
      const n = attrs.heads * attrs.width;
      const state = ctx.state(stateId ?? -1);
      const data = new Float32Array(ctx.tokens * n);
      for (let t = 0; t < ctx.tokens; t++) {
        const position = positions?.data[t] ?? 0;
        const row = Float32Array.from((x as Tensor).data.subarray(t * n, (t + 1) * n));
        state.write(position, row, row.map((value) => 2 * value));
        for (let c = 0; c < n; c++) {
          let sum = 0;
          for (let p = 0; p <= position; p++) {
            sum += term(state.k(p)[c] ?? NaN, state.v(p)[c] ?? NaN, position - p);
          }
          data[t * n + c] = wrap(sum);
        }
      }
      return [{ type: { dtype: "f32", shape: ["T", n] }, shape: [ctx.tokens, n], data }];
    },
  },
  tiling: {
    tiles: (op) => op.attrs.heads,
    view: () => null,
    placement: "spread",
    regions(op, lo, hi) {
      const columns = { lo: lo * op.attrs.width, hi: hi * op.attrs.width };
      return {
        reads: [
          { operand: "input", index: 0, ...columns },
          { operand: "input", index: 1, lo: 0, hi: 1 },
        ],
        writes: [{ operand: "output", index: 0, ...columns }],
        states: [
          { state: 0, rows: "past", access: "read", ...columns },
          { state: 0, rows: "append", access: "write", ...columns },
        ],
      };
    },
    tileCostBytes: () => 256,
    flags: { polls: () => [0], stores: () => true },
  },
  packing: { resident: () => [], stream: () => null },
  *task(op, _layout, ctx) {
    yield;
    const state = ctx.eval.state(ctx.states[0] ?? -1);
    const positions = ctx.read(1, 0, 1);
    const [lo, hi] = [ctx.tileLo * op.attrs.width, ctx.tileHi * op.attrs.width];
    const n = hi - lo;
    const x = Float32Array.from(ctx.read(0, lo, hi));
    const first = positions[0] ?? 0;
    const out = new Float32Array(x.length);
    for (let t = 0; t < positions.length; t++) {
      const row = x.subarray(t * n, (t + 1) * n);
      state.write(first + t, row, row.map((value) => 2 * value), lo);
      yield;
      for (let c = 0; c < n; c++) {
        let sum = 0;
        for (let p = 0; p < first; p++) {
          sum += term(state.k(p)[lo + c] ?? NaN, state.v(p)[lo + c] ?? NaN, first + t - p);
        }
        for (let s = 0; s <= t; s++) {
          const k = x[s * n + c] ?? NaN;
          sum += term(k, 2 * k, t - s);
        }
        out[t * n + c] = wrap(sum);
      }
    }
    ctx.write(0, lo, hi, out);
  },
};

/** logits [1, V] -> i32 [1], the lowest index of the maximum; opens the next step. */
export const choose: OpSchedule<{ readonly [key: string]: Json }> = {
  semantics: {
    name: "choose",
    summary: "The index of the largest logit, as the next token.",
    traits: { ...traits, stateful: false, effect: true },
    parseAttrs: (attrs) => attrs,
    infer: () => [{ dtype: "i32", shape: [1] }],
    evaluate: (_attrs, [logits]) => [
      {
        type: { dtype: "i32", shape: [1] },
        shape: [1],
        data: Int32Array.of(largest((logits as Tensor).data)),
      },
    ],
  },
  tiling: {
    tiles: () => 1,
    view: () => null,
    placement: "single",
    regions: (op) => ({
      reads: [{ operand: "input", index: 0, lo: 0, hi: vocabulary(op) }],
      writes: [{ operand: "output", index: 0, lo: 0, hi: 1 }],
      states: [],
    }),
    tileCostBytes: () => 64,
    flags: null,
  },
  packing: { resident: () => [], stream: () => null },
  *task(op, _layout, ctx) {
    yield;
    ctx.write(0, 0, 1, Int32Array.of(largest(ctx.read(0, 0, vocabulary(op)))));
  },
};

function vocabulary(op: OpInstance): number {
  const [logits] = op.inputs;
  return logits === undefined ? 0 : columnsOf(logits);
}

function largest(data: Float32Array | Int32Array): number {
  let best = 0;
  data.forEach((value, i) => {
    if (value > (data[best] ?? NaN)) best = i;
  });
  return best;
}
