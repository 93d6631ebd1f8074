/** @file blockMax: what it means. */
import { ShapeError } from "@mpk/ir";
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
 * maximum's column (the lowest among equals) as the float32 whose bits are the i32.
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
    const max = x[best] ?? Number.NaN;
    out[i] = Number.isNaN(max) ? -Infinity : max;
    bits[i + 1] = base + best;
  }
  return out;
}

/** The column of the maximum over all pairs: the first best pair's, as pairs ascend by column. */
export function bestOfPairs(pairs: Float32Array): number {
  let best = 0;
  for (let i = 2; i < pairs.length; i += 2) {
    if ((pairs[i] ?? -Infinity) > (pairs[best] ?? -Infinity)) best = i;
  }
  return new Int32Array(pairs.buffer, pairs.byteOffset, pairs.length)[best + 1] ?? 0;
}
