/** @file blockMax: what it means. */
import { noToken, ShapeError } from "@mpk/ir";
import type { OpSemantics } from "@mpk/ir";
import { attrsOf, count } from "../../shared/attrs.ts";
import { argmaxRun, floatsAt, resultOf } from "../../shared/rows.ts";
import { floatActivation, inputAt, requireInputs, showType } from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

export interface BlockMaxAttrs {
  /** Columns of a block; the last may be shorter. */
  readonly block: number;
}

/**
 * x [1, N] → f32 [1, 2 · ceil(N / block)]: for each block of columns its maximum, then that
 * maximum's column (the lowest among equals) as the float32 whose bits are the i32. A block of
 * nothing but NaN gives -Infinity and `noToken`.
 */
export const semantics: OpSemantics<BlockMaxAttrs> = {
  name: "blockMax",
  summary: "Finds the maximum of each block of columns and where it is.",
  traits: traits(),
  parseAttrs: attrsOf({ block: count }),
  infer({ block }, inputs) {
    requireInputs(inputs, 1, 1, "x");
    const x = inputAt(inputs, 0, "x");
    const { rows, columns } = floatActivation(x, "x");
    if (rows !== 1) {
      throw new ShapeError(`x must be [1, N], got ${showType(x)}; take lastRow first`);
    }
    return [{ dtype: "f32", shape: [1, 2 * Math.ceil(columns / block)] }];
  },
  evaluate(attrs, inputs, ctx) {
    const out = blockMaxima(floatsAt(inputs, 0), attrs.block, 0);
    return resultOf(semantics, attrs, inputs, ctx, out);
  },
};

/** Pairs of the blocks of x, whose first column is `base`. */
export function blockMaxima(x: Float32Array, block: number, base: number): Float32Array {
  const out = new Float32Array(2 * Math.ceil(x.length / block));
  const bits = new Int32Array(out.buffer);
  for (let lo = 0, i = 0; lo < x.length; lo += block, i += 2) {
    const best = argmaxRun(x, lo, Math.min(x.length, lo + block));
    out[i] = best === noToken ? -Infinity : (x[best] ?? 0);
    bits[i + 1] = best === noToken ? noToken : base + best;
  }
  return out;
}

/**
 * The column of the maximum over all pairs, the lowest among equals: pairs ascend by column, but a
 * block of nothing but NaN has -Infinity at `noToken`, which loses against -Infinity anywhere.
 */
export function bestOfPairs(pairs: Float32Array): number {
  const columns = new Int32Array(pairs.buffer, pairs.byteOffset, pairs.length);
  let max = -Infinity;
  let best = noToken;
  for (let i = 0; i < pairs.length; i += 2) {
    // As a float32, `noToken` is a NaN.
    if (Number.isNaN(pairs[i + 1])) continue;
    const [value = -Infinity, column = noToken] = [pairs[i], columns[i + 1]];
    if (value < max || (value === max && column >= best)) continue;
    max = value;
    best = column;
  }
  return best;
}
