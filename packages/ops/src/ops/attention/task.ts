/** @file attention: a task attends with its query heads, and appends the keys that it owns. */
import { roundToBf16 } from "@mpk/ir";
import type { KvState } from "@mpk/ir";
import type { OpInstance, TaskBody, TaskContext } from "@mpk/schedule";
import { readFloats, readInts, readVector, writeResult } from "../../shared/tasks.ts";
import type { Interval } from "../../shared/tiles.ts";
import { attendHead, firstSeen, prepareHeads, rotations } from "./semantics.ts";
import type { AttentionAttrs, WholeAttentionAttrs } from "./semantics.ts";
import { headSpan } from "./tiling.ts";

type Op = OpInstance<AttentionAttrs>;

/** This step's operands, ready for the products; k and v are [tokens, kv columns]. */
export interface StepHeads {
  readonly positions: Int32Array;
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

/** Columns of an input, normed and turned as `attrs` say. */
function* readHeads(
  op: Op,
  ctx: TaskContext,
  input: 0 | 1,
  columns: Interval,
  turns: readonly Float32Array[] | null,
): Generator<void, Float32Array, void> {
  const { attrs } = op;
  const x = readFloats(ctx, input, columns).slice();
  yield;
  // The query gain is input 4, the key gain input 5.
  const gain = attrs.qkNorm === null ? null : readVector(ctx, 4 + input, attrs.headDim);
  prepareHeads(attrs, x, columns.hi - columns.lo, gain, turns);
  return x;
}

/** This step's columns `q` of the queries and `kv` (possibly none) of the keys and values. */
export function* readStep(
  op: Op,
  ctx: TaskContext,
  q: Interval,
  kv: Interval,
): Generator<void, StepHeads, void> {
  const positions = readInts(ctx, 3);
  yield;
  const turns = rotations(op.attrs, positions);
  const queries = yield* readHeads(op, ctx, 0, q, turns);
  const none = new Float32Array(0);
  if (kv.lo >= kv.hi) return { positions, q: queries, k: none, v: none };
  const keys = yield* readHeads(op, ctx, 1, kv, turns);
  const values = readFloats(ctx, 2, kv);
  yield;
  const rounded = ctx.eval.precision === "bf16";
  return {
    positions,
    q: queries,
    k: rounded ? roundToBf16(keys) : keys,
    v: rounded ? roundToBf16(values) : values,
  };
}

/** Appends columns `own` of the columns `kv` that the step has, a token at a time. */
export function* appendRows(
  state: KvState,
  step: StepHeads,
  kv: Interval,
  own: Interval,
): Generator<void, void, void> {
  if (own.lo >= own.hi) return;
  const width = kv.hi - kv.lo;
  for (const [token, position] of step.positions.entries()) {
    const start = token * width;
    const cut = (x: Float32Array): Float32Array =>
      x.subarray(start + own.lo - kv.lo, start + own.hi - kv.lo);
    state.write(position, cut(step.k), cut(step.v), own.lo);
    yield;
  }
}

/** Rows by position: those before the step from the cache, the step's own from `fresh`. */
function rowsSeen(
  first: number,
  position: number,
  start: number,
  past: (position: number) => Float32Array,
  fresh: readonly Float32Array[],
): Float32Array[] {
  const rows: Float32Array[] = [];
  for (let p = first; p <= position; p++) {
    const row = p < start ? past(p) : fresh[p - start];
    if (row === undefined) throw new RangeError("positions of one step must be consecutive");
    rows.push(row);
  }
  return rows;
}

/** [tokens, kv columns] as rows that are as wide as the state's, the other columns unset. */
export function asStateRows(x: Float32Array, tokens: number, kv: Interval): Float32Array[] {
  const width = kv.hi - kv.lo;
  return Array.from({ length: tokens }, (_, token) => {
    const row = new Float32Array(kv.hi);
    row.set(x.subarray(token * width, (token + 1) * width), kv.lo);
    return row;
  });
}

export const task: TaskBody<WholeAttentionAttrs> = function* attend(op, _layout, ctx) {
  const { attrs } = op;
  const { heads, kvHeads, headDim } = attrs;
  const { q: columns, kv, append } = headSpan(attrs, ctx.tileLo, ctx.tileHi);
  const [id] = ctx.states;
  if (id === undefined) throw new RangeError("attention needs one KV state");
  const state = ctx.eval.state(id);
  const step = yield* readStep(op, ctx, columns, kv);
  yield* appendRows(state, step, kv, append);
  const tokens = step.positions.length;
  const [freshK, freshV] = [asStateRows(step.k, tokens, kv), asStateRows(step.v, tokens, kv)];
  const out = new Float32Array(step.q.length);
  const start = step.positions[0] ?? 0;
  for (const [token, position] of step.positions.entries()) {
    const first = firstSeen(attrs, position);
    const k = rowsSeen(first, position, start, (p) => state.k(p), freshK);
    const v = rowsSeen(first, position, start, (p) => state.v(p), freshV);
    for (let head = ctx.tileLo; head < ctx.tileHi; head++) {
      const kvAt = Math.floor((head * kvHeads) / heads) * headDim;
      const at = (token * (ctx.tileHi - ctx.tileLo) + head - ctx.tileLo) * headDim;
      attendHead(attrs, step.q, at, { k, v, kvAt }, out, at);
    }
    yield;
  }
  writeResult(op, ctx, columns, out);
};
