/** @file concat: a task copies its columns from the parts they come from. */
import type { TaskBody } from "@mpk/schedule";
import { columnBlock, outputColumns, tileInterval } from "../../shared/tiles.ts";
import type { ConcatAttrs } from "./semantics.ts";
import { partIntervals } from "./tiling.ts";

export const task: TaskBody<ConcatAttrs> = function* copyColumns(op, _layout, ctx) {
  const columns = tileInterval(outputColumns(op), columnBlock(op), ctx.tileLo, ctx.tileHi);
  for (const { part, lo, hi, to } of partIntervals(op, columns)) {
    const data = ctx.read(part, lo, hi);
    yield;
    ctx.write(0, to, to + hi - lo, data);
    yield;
  }
};
