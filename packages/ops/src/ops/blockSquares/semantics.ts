/** @file blockSquares: what it means. */
import type { OpSemantics } from "@mpk/ir";
import { attrsOf, count } from "../../shared/attrs.ts";
import { extent, floatsAt, resultOf } from "../../shared/rows.ts";
import { floatActivation, inputAt, requireInputs } from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

export interface BlockSquaresAttrs {
  /** Columns of a block; the last may be shorter. */
  readonly block: number;
}

/** x [R, N] → f32 [R, ceil(N / block)]: the sum of squares of each block of columns. */
export const semantics: OpSemantics<BlockSquaresAttrs> = {
  name: "blockSquares",
  summary: "Sums the squares of each block of columns: a row's root mean square on many SMs.",
  traits: traits(),
  parseAttrs: attrsOf({ block: count }),
  infer({ block }, inputs) {
    requireInputs(inputs, 1, 1, "x");
    const { rows, columns } = floatActivation(inputAt(inputs, 0, "x"), "x");
    return [{ dtype: "f32", shape: [rows, Math.ceil(columns / block)] }];
  },
  evaluate(attrs, inputs, ctx) {
    const { columns } = extent(inputAt(inputs, 0, "x"));
    const data = blockSquares(floatsAt(inputs, 0), columns, attrs.block);
    return resultOf(semantics, attrs, inputs, ctx, data);
  },
};

/** Sums [rows, ceil(columns / block)] of x [rows, columns], in float64. */
export function blockSquares(x: Float32Array, columns: number, block: number): Float32Array {
  const [rows, blocks] = [x.length / columns, Math.ceil(columns / block)];
  const out = new Float32Array(rows * blocks);
  for (let i = 0; i < out.length; i++) {
    const lo = (i % blocks) * block;
    const from = Math.floor(i / blocks) * columns;
    let sum = 0;
    for (let c = lo; c < Math.min(columns, lo + block); c++) sum += (x[from + c] ?? 0) ** 2;
    out[i] = sum;
  }
  return out;
}
