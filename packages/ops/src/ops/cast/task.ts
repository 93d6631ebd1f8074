/** @file cast: a task converts its columns of every row. */
import { castData } from "@mpk/ir";
import type { TaskBody } from "@mpk/schedule";
import { columnBlock, outputColumns, tileInterval } from "../../shared/tiles.ts";
import type { CastAttrs } from "./semantics.ts";

// Not a `columnTask`: integers of more than 24 bits must not pass through float32.
export const task: TaskBody<CastAttrs> = function* castColumns(op, _layout, ctx) {
  const { lo, hi } = tileInterval(outputColumns(op), columnBlock(op), ctx.tileLo, ctx.tileHi);
  const x = ctx.read(0, lo, hi);
  yield;
  ctx.write(0, lo, hi, castData(x, op.attrs.to, ctx.eval.precision));
};
