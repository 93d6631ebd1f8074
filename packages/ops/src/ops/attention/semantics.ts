/** @file attention: what it means. */
import { ShapeError, intsOf, roundToBf16 } from "@mpk/ir";
import type { EvalContext, KvState, OpSemantics, Tensor, TensorType, ValueId } from "@mpk/ir";
import { count, finite, nullable, oneOf, optional, positive, record } from "../../shared/attrs.ts";
import { floatsAt, normalizeRun, resultOf, softmaxRun } from "../../shared/rows.ts";
import {
  floatActivation,
  inputAt,
  requireInputs,
  requireTokenVector,
  requireVector,
  showType,
} from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";
import { checkRope, ropeFields, ropeFrequencies, rotateHead, rotation } from "../rope/semantics.ts";
import type { RopeAttrs } from "../rope/semantics.ts";

export interface AttentionAttrs {
  readonly heads: number;
  /** Divides `heads`: heads / kvHeads query heads share a key head. */
  readonly kvHeads: number;
  readonly headDim: number;
  readonly scale: number;
  /** A token sees itself and the window - 1 before it. */
  readonly window: number | null;
  /** RMS norm of each query and key head, before rope. */
  readonly qkNorm: { readonly eps: number } | null;
  readonly rope: RopeAttrs | null;
}

/** Attention as one op, which may round what it gives. */
export interface WholeAttentionAttrs extends AttentionAttrs {
  /** Left out: f32. */
  readonly out: "f32" | "bf16";
}

export const attentionFields = {
  heads: count,
  kvHeads: count,
  headDim: count,
  scale: finite,
  window: nullable(count),
  qkNorm: nullable(record({ eps: positive })),
  rope: nullable(record(ropeFields)),
};

const readAttrs = record({ ...attentionFields, out: optional(oneOf("f32", "bf16"), "f32") });

/** Throws `ShapeError` where fields contradict each other. */
export function checkAttention<A extends AttentionAttrs>(attrs: A): A {
  const { heads, kvHeads, headDim, rope } = attrs;
  if (heads % kvHeads !== 0) {
    throw new ShapeError(`attribute kvHeads: must divide heads, got ${kvHeads} and ${heads}`);
  }
  if (rope === null) return attrs;
  checkRope(rope);
  if (rope.headDim !== headDim) {
    throw new ShapeError(`attribute rope.headDim: must be headDim ${headDim}, got ${rope.headDim}`);
  }
  return attrs;
}

/** Throws `ShapeError` unless the operands are those of attention. */
export function checkOperands(attrs: AttentionAttrs, inputs: readonly TensorType[]): void {
  const { heads, kvHeads, headDim, qkNorm } = attrs;
  const names = "q, k, v, positions" + (qkNorm === null ? "" : ", q gain, k gain");
  const expected = qkNorm === null ? 4 : 6;
  requireInputs(inputs, expected, expected, names);
  const widths = [["q", heads], ["k", kvHeads], ["v", kvHeads]] as const;
  for (const [i, [name, own]] of widths.entries()) {
    const type = inputAt(inputs, i, name);
    const { rows, columns } = floatActivation(type, name);
    if (rows === "T" && columns === own * headDim) continue;
    const shape = `[T, ${own * headDim}], ${own} heads of ${headDim}`;
    throw new ShapeError(`${name} must be ${shape}, got ${showType(type)}`);
  }
  requireTokenVector(inputAt(inputs, 3, "positions"), "positions");
  if (qkNorm !== null) {
    const hint = "one number for each dim of a head";
    requireVector(inputAt(inputs, 4, "q gain"), headDim, "q gain", hint);
    requireVector(inputAt(inputs, 5, "k gain"), headDim, "k gain", hint);
  }
}

/**
 * What happens to a query or key before the product, in place: norm (if `gain` is given), then
 * rope. `turns`: a rotation for each token, or null without rope. x is [tokens, width].
 */
export function prepareHeads(
  attrs: AttentionAttrs,
  x: Float32Array,
  width: number,
  gain: Float32Array | null,
  turns: readonly Float32Array[] | null,
): void {
  const { headDim, qkNorm } = attrs;
  for (let start = 0; start < x.length; start += headDim) {
    if (qkNorm !== null && gain !== null) {
      normalizeRun(x, start, headDim, { kind: "rms", eps: qkNorm.eps, gain, bias: null }, x);
    }
    const turn = turns?.[Math.floor(start / width)];
    if (turn !== undefined) rotateHead(x, start, turn);
  }
}

/** A rotation for each position, or null where the op has no rope. */
export function rotations(attrs: AttentionAttrs, positions: Int32Array): Float32Array[] | null {
  if (attrs.rope === null) return null;
  const frequencies = ropeFrequencies(attrs.rope);
  return Array.from(positions, (position) => rotation(position, frequencies));
}

/** First position that a token at `position` sees. */
export const firstSeen = (attrs: AttentionAttrs, position: number): number =>
  attrs.window === null ? 0 : Math.max(0, position - attrs.window + 1);

/** One query head against keys and values given as rows by position, a head at `kvAt` in each. */
export interface HeadRows {
  readonly k: readonly Float32Array[];
  readonly v: readonly Float32Array[];
  readonly kvAt: number;
}

/**
 * softmax(scale · q · kᵀ) · v for the head q[at, at + headDim), to out[outAt, ...). Products and
 * sums in float64, scores and probabilities in float32.
 */
export function attendHead(
  attrs: AttentionAttrs,
  q: Float32Array,
  at: number,
  rows: HeadRows,
  out: Float32Array,
  outAt: number,
): void {
  const { headDim, scale } = attrs;
  const { k, v, kvAt } = rows;
  const scores = new Float32Array(k.length);
  for (let p = 0; p < k.length; p++) {
    const key = k[p];
    if (key === undefined) continue;
    let dot = 0;
    for (let d = 0; d < headDim; d++) dot += (q[at + d] ?? 0) * (key[kvAt + d] ?? 0);
    scores[p] = Math.fround(dot) * scale;
  }
  softmaxRun(scores, 0, scores.length, scores);
  const sum = new Float64Array(headDim);
  for (let p = 0; p < v.length; p++) {
    const value = v[p];
    const weight = scores[p] ?? 0;
    if (value === undefined) continue;
    for (let d = 0; d < headDim; d++) sum[d] = (sum[d] ?? 0) + weight * (value[kvAt + d] ?? 0);
  }
  out.set(sum, outAt);
}

/** Appends this step's keys and values; gives the queries, ready for the product. */
export function appendStep(
  attrs: AttentionAttrs,
  inputs: readonly Tensor[],
  ctx: EvalContext,
  state: KvState,
): Float32Array {
  const { heads, kvHeads, headDim } = attrs;
  const positions = intsOf(inputAt(inputs, 3, "positions"));
  const turns = rotations(attrs, positions);
  const gainAt = (at: number): Float32Array | null =>
    attrs.qkNorm === null ? null : floatsAt(inputs, at);
  const q = floatsAt(inputs, 0).slice();
  prepareHeads(attrs, q, heads * headDim, gainAt(4), turns);
  const k = floatsAt(inputs, 1).slice();
  const width = kvHeads * headDim;
  prepareHeads(attrs, k, width, gainAt(5), turns);
  const kept = (x: Float32Array): Float32Array => (ctx.precision === "bf16" ? roundToBf16(x) : x);
  const [keys, values] = [kept(k), kept(floatsAt(inputs, 2))];
  positions.forEach((position, token) => {
    const [lo, hi] = [token * width, (token + 1) * width];
    state.write(position, keys.subarray(lo, hi), values.subarray(lo, hi));
  });
  return q;
}

/** The op's one state. Throws `ShapeError` unless it holds this op's key heads. */
export function stateOf(
  { kvHeads, headDim }: AttentionAttrs,
  ctx: EvalContext,
  states: readonly ValueId[],
): KvState {
  const id = states[0];
  if (states.length !== 1 || id === undefined) {
    throw new ShapeError(`attention needs one KV state, got ${states.length}`);
  }
  const state = ctx.state(id);
  if (state.kvHeads === kvHeads && state.headDim === headDim) return state;
  const got = `${state.kvHeads} of ${state.headDim}`;
  throw new ShapeError(`the KV state must hold ${kvHeads} heads of ${headDim}, it has ${got}`);
}

/**
 * q [T, H·D], k [T, Hkv·D], v [T, Hkv·D], positions i32 [T], gains [D]; state: one KV → `out`
 * [T, H·D]. The step's keys (normed and turned) and values enter the cache as bf16; then each token
 * attends to the cache up to itself.
 */
export const semantics: OpSemantics<WholeAttentionAttrs> = {
  name: "attention",
  summary: "Appends keys and values to the cache and attends causally to it.",
  traits: traits("stateful"),
  parseAttrs: (attrs) => checkAttention(readAttrs(attrs, "")),
  infer(attrs, inputs) {
    checkOperands(attrs, inputs);
    return [{ dtype: attrs.out, shape: ["T", attrs.heads * attrs.headDim] }];
  },
  evaluate(attrs, inputs, ctx, states) {
    const { heads, kvHeads, headDim } = attrs;
    const state = stateOf(attrs, ctx, states);
    const q = appendStep(attrs, inputs, ctx, state);
    const out = new Float32Array(q.length);
    intsOf(inputAt(inputs, 3, "positions")).forEach((position, token) => {
      const first = firstSeen(attrs, position);
      const seen = Array.from({ length: position + 1 - first }, (_, i) => first + i);
      const [k, v] = [seen.map((p) => state.k(p)), seen.map((p) => state.v(p))];
      for (let head = 0; head < heads; head++) {
        const kvAt = Math.floor((head * kvHeads) / heads) * headDim;
        const at = (token * heads + head) * headDim;
        attendHead(attrs, q, at, { k, v, kvAt }, out, at);
      }
    });
    return resultOf(semantics, attrs, inputs, ctx, out);
  },
};
