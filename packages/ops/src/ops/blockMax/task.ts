/** @file blockMax: a task finds the maxima of its blocks. */
import type { TaskBody } from "@mpk/schedule";
import { readFloats } from "../../shared/tasks.ts";
import { inputColumns, tileInterval } from "../../shared/tiles.ts";
import { blockMaxima } from "./semantics.ts";
import type { BlockMaxAttrs } from "./semantics.ts";

export const task: TaskBody<BlockMaxAttrs> = function* findMaxima(op, _layout, ctx) {
  const { tileLo, tileHi } = ctx;
  const { block } = op.attrs;
  const columns = tileInterval(inputColumns(op, 0), block, tileLo, tileHi);
  const x = readFloats(ctx, 0, columns);
  yield;
  ctx.write(0, 2 * tileLo, 2 * tileHi, blockMaxima(x, block, columns.lo));
};
