/** @file attentionMerge: a task merges the columns of its tiles. */
import { columnTask, readFloats } from "../../shared/tasks.ts";
import { mergeColumns } from "./semantics.ts";
import type { AttentionMergeAttrs } from "./semantics.ts";
import { mergeWidth, tiling } from "./tiling.ts";

export const task = columnTask<AttentionMergeAttrs>(
  (op) => mergeWidth(op.attrs),
  function* merge(op, ctx, { lo, hi }) {
    const [from] = tiling.regions(op, ctx.tileLo, ctx.tileHi).reads;
    if (from === undefined) throw new RangeError("attentionMerge reads its parts");
    const parts = readFloats(ctx, 0, from);
    const { tokens } = ctx.eval;
    const [width, columns, step] = [from.hi - from.lo, hi - lo, mergeWidth(op.attrs)];
    const out = new Float32Array(tokens * columns);
    for (let token = 0; token < tokens; token++) {
      for (let c = lo; c < hi; c += step) {
        const to = out.subarray(token * columns + c - lo, token * columns + c - lo + step);
        mergeColumns(op.attrs, parts, token * width - from.lo, { lo: c, hi: c + step }, to);
      }
      yield;
    }
    return out;
  },
);
