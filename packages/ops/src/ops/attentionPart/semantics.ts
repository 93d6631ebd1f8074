/** @file attentionPart: what it means. */
import { intsOf } from "@mpk/ir";
import type { KvState, OpSemantics } from "@mpk/ir";
import { count, record } from "../../shared/attrs.ts";
import { resultOf } from "../../shared/rows.ts";
import { inputAt } from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";
import {
  appendStep,
  attentionFields,
  checkAttention,
  checkOperands,
  firstSeen,
  stateOf,
} from "../attention/semantics.ts";
import type { AttentionAttrs } from "../attention/semantics.ts";

export interface AttentionPartAttrs extends AttentionAttrs {
  /** Parts that the keys of each key head fall into. */
  readonly splits: number;
}

const readAttrs = record({ ...attentionFields, splits: count });

/** Positions that go to a split together: the keys that a warp takes in at once. */
export const unitKeys = 32;

const unitOf = (position: number): number => Math.floor(position / unitKeys);

/**
 * The split that attends to a position in a step whose first token is at `start`. Full units of
 * earlier positions go round, from the last split down; those that the step's tokens are in belong
 * to split 0, which appends the tokens and has the fewest others.
 */
export const splitOf = (splits: number, position: number, start: number): number =>
  unitOf(position) < unitOf(start) ? splits - 1 - (unitOf(position) % splits) : 0;

/** The maximum of no scores; finite, so that differences are numbers. */
export const noScore = -1e30;

/** Columns of one part: the group's weighted values, then (maximum, sum) of each query head. */
export const partColumns = (attrs: {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}): number => (attrs.heads / attrs.kvHeads) * (attrs.headDim + 2);

/** Keys and values by position, as wide as the state's rows. */
export interface PositionRows {
  k(position: number): Float32Array;
  v(position: number): Float32Array;
}

/**
 * One query head q[at, at + headDim) over some positions: `out` gets the values weighted by
 * 2^(score - maximum), score = log2(e) · scale · q · k; gives that maximum and the sum of weights.
 */
function attendPositions(
  attrs: AttentionPartAttrs,
  q: Float32Array,
  at: number,
  rows: PositionRows,
  kvAt: number,
  positions: readonly number[],
  out: Float32Array,
): { maximum: number; sum: number } {
  const { headDim, scale } = attrs;
  const scores = positions.map((position) => {
    const key = rows.k(position);
    let dot = 0;
    for (let d = 0; d < headDim; d++) dot += (q[at + d] ?? 0) * (key[kvAt + d] ?? 0);
    return Math.fround(dot * scale * Math.LOG2E);
  });
  const maximum = scores.reduce((most, score) => Math.max(most, score), noScore);
  const values = new Float64Array(headDim);
  let sum = 0;
  positions.forEach((position, i) => {
    const weight = Math.fround(2 ** ((scores[i] ?? 0) - maximum));
    const value = rows.v(position);
    sum += weight;
    for (let d = 0; d < headDim; d++) {
      values[d] = (values[d] ?? 0) + weight * (value[kvAt + d] ?? 0);
    }
  });
  out.set(values);
  return { maximum, sum };
}

/**
 * One part of one token: the query heads q[at, ...) of a key head's group over the positions that
 * fall to `split`. `out` is `partColumns` wide.
 */
export function attendSplit(
  attrs: AttentionPartAttrs,
  q: Float32Array,
  at: number,
  rows: PositionRows,
  part: { readonly kvHead: number; readonly split: number },
  step: { readonly position: number; readonly start: number },
  out: Float32Array,
): void {
  const { heads, kvHeads, headDim, splits } = attrs;
  const [group, first] = [heads / kvHeads, firstSeen(attrs, step.position)];
  const positions = Array.from({ length: step.position + 1 - first }, (_, i) => first + i)
    .filter((position) => splitOf(splits, position, step.start) === part.split);
  for (let head = 0; head < group; head++) {
    const values = out.subarray(head * headDim, (head + 1) * headDim);
    const from = at + head * headDim;
    const kvAt = part.kvHead * headDim;
    const { maximum, sum } = attendPositions(attrs, q, from, rows, kvAt, positions, values);
    out[group * headDim + 2 * head] = maximum;
    out[group * headDim + 2 * head + 1] = sum;
  }
}

/**
 * Operands of `attention` → f32 [T, Hkv · splits · partColumns], tile after tile: of key head h and
 * split s the part of the softmax over the positions that fall to s (see `splitOf`). A split without
 * positions gives sum 0. `attentionMerge` makes attention's result of it.
 */
export const semantics: OpSemantics<AttentionPartAttrs> = {
  name: "attentionPart",
  summary: "Appends keys and values to the cache and attends to parts of it, to be merged.",
  traits: traits("stateful"),
  parseAttrs: (attrs) => checkAttention(readAttrs(attrs, "")),
  infer(attrs, inputs) {
    checkOperands(attrs, inputs);
    return [{ dtype: "f32", shape: ["T", attrs.kvHeads * attrs.splits * partColumns(attrs)] }];
  },
  evaluate(attrs, inputs, ctx, states) {
    const { heads, kvHeads, headDim, splits } = attrs;
    const state: KvState = stateOf(attrs, ctx, states);
    const q = appendStep(attrs, inputs, ctx, state);
    const width = partColumns(attrs);
    const positions = intsOf(inputAt(inputs, 3, "positions"));
    const start = positions[0] ?? 0;
    const out = new Float32Array(positions.length * kvHeads * splits * width);
    positions.forEach((position, token) => {
      for (let tile = 0; tile < kvHeads * splits; tile++) {
        const part = { kvHead: Math.floor(tile / splits), split: tile % splits };
        const at = (token * heads + part.kvHead * (heads / kvHeads)) * headDim;
        const to = (token * kvHeads * splits + tile) * width;
        const own = out.subarray(to, to + width);
        attendSplit(attrs, q, at, state, part, { position, start }, own);
      }
    });
    return resultOf(semantics, attrs, inputs, ctx, out);
  },
};
