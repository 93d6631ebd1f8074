/** @file blockSquares: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { fixedRows, inputOf, outputOf, templateAt } from "../../shared/body.ts";
import type { BlockSquaresAttrs } from "./semantics.ts";

export const body: OpBody<BlockSquaresAttrs> = {
  template: templateAt(import.meta.url),
  run: "block_squares",
  view(op, env) {
    const [x, out] = [inputOf(env, 0), outputOf(env)];
    return {
      columns: x.columns,
      block: op.attrs.block,
      // Four elements at once: rows and blocks must start at 16 bytes (f32) or 8 bytes (bf16).
      vector: [x.columns, x.stride, x.column, op.attrs.block].every((n) => n % 4 === 0),
      rows: fixedRows(x),
      firstRow: x.lastRow ? "c.tokens - 1" : "0",
      xType: env.type(x),
      xStride: x.stride,
      xWord: x.word,
      outStride: out.stride,
      outWord: out.word,
    };
  },
};
