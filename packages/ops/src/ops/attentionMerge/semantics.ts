/** @file attentionMerge: what it means. */
import { ShapeError } from "@mpk/ir";
import type { OpSemantics } from "@mpk/ir";
import { attrsOf, count } from "../../shared/attrs.ts";
import { floatsAt, resultOf } from "../../shared/rows.ts";
import { floatActivation, inputAt, requireInputs, showType } from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";
import { noScore, partColumns } from "../attentionPart/semantics.ts";

export interface AttentionMergeAttrs {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly splits: number;
}

/** Where the parts of a query head lie: the first part's columns, and steps between parts. */
export interface HeadParts {
  /** Of the first split's values and of its (maximum, sum). */
  readonly values: number;
  readonly stats: number;
  /** Columns from one split to the next. */
  readonly step: number;
}

/** See `HeadParts`. */
export function headParts(attrs: AttentionMergeAttrs, head: number): HeadParts {
  const { heads, kvHeads, headDim, splits } = attrs;
  const [group, step] = [heads / kvHeads, partColumns(attrs)];
  const start = Math.floor(head / group) * splits * step;
  const own = head % group;
  return { values: start + own * headDim, stats: start + group * headDim + 2 * own, step };
}

/**
 * Columns [lo, hi) of the result, all of one head, from a token's parts: sums of the splits in
 * their order. parts[at] is column 0.
 */
export function mergeColumns(
  attrs: AttentionMergeAttrs,
  parts: Float32Array,
  at: number,
  { lo, hi }: { readonly lo: number; readonly hi: number },
  out: Float32Array,
): void {
  const { headDim, splits } = attrs;
  const head = Math.floor(lo / headDim);
  const { values, stats, step } = headParts(attrs, head);
  const stat = (split: number, which: 0 | 1): number =>
    parts[at + stats + split * step + which] ?? 0;
  let maximum = noScore;
  for (let split = 0; split < splits; split++) maximum = Math.max(maximum, stat(split, 0));
  let sum = 0;
  const weighted = new Float64Array(hi - lo);
  for (let split = 0; split < splits; split++) {
    // What a split without positions left in its values is nobody's business.
    if (stat(split, 1) === 0) continue;
    const weight = 2 ** (stat(split, 0) - maximum);
    const from = at + values + split * step + lo - head * headDim;
    sum += weight * stat(split, 1);
    for (let c = 0; c < hi - lo; c++) {
      weighted[c] = (weighted[c] ?? 0) + weight * (parts[from + c] ?? 0);
    }
  }
  for (let c = 0; c < hi - lo; c++) out[c] = (weighted[c] ?? 0) / sum;
}

/** Parts f32 [T, Hkv · splits · partColumns] of `attentionPart` → f32 [T, H · D]. */
export const semantics: OpSemantics<AttentionMergeAttrs> = {
  name: "attentionMerge",
  summary: "Joins the parts of attention into its result, in the order of the splits.",
  traits: traits(),
  parseAttrs: attrsOf({ heads: count, kvHeads: count, headDim: count, splits: count }),
  infer(attrs, inputs) {
    const { heads, kvHeads, headDim, splits } = attrs;
    if (heads % kvHeads !== 0) {
      throw new ShapeError(`attribute kvHeads: must divide heads, got ${kvHeads} and ${heads}`);
    }
    requireInputs(inputs, 1, 1, "parts");
    const type = inputAt(inputs, 0, "parts");
    const { rows, columns } = floatActivation(type, "parts");
    const expected = kvHeads * splits * partColumns(attrs);
    if (rows !== "T" || columns !== expected || type.dtype !== "f32") {
      throw new ShapeError(`parts must be f32 [T, ${expected}], got ${showType(type)}`);
    }
    return [{ dtype: "f32", shape: ["T", heads * headDim] }];
  },
  evaluate(attrs, inputs, ctx) {
    const { heads, headDim } = attrs;
    const parts = floatsAt(inputs, 0);
    const [columns, width] = [heads * headDim, parts.length / ctx.tokens];
    const out = new Float32Array(ctx.tokens * columns);
    for (let token = 0; token < ctx.tokens; token++) {
      for (let lo = 0; lo < columns; lo += headDim) {
        const to = out.subarray(token * columns + lo, token * columns + lo + headDim);
        mergeColumns(attrs, parts, token * width, { lo, hi: lo + headDim }, to);
      }
    }
    return resultOf(semantics, attrs, inputs, ctx, out);
  },
};
