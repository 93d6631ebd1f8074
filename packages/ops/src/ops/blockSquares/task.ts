/** @file blockSquares: a task sums its blocks of every row. */
import { columnTask, readFloats } from "../../shared/tasks.ts";
import { inputColumns, tileInterval } from "../../shared/tiles.ts";
import { blockSquares } from "./semantics.ts";
import type { BlockSquaresAttrs } from "./semantics.ts";

export const task = columnTask<BlockSquaresAttrs>(
  () => 1,
  function* sumBlocks(op, ctx, blocks) {
    const { block } = op.attrs;
    const columns = tileInterval(inputColumns(op, 0), block, blocks.lo, blocks.hi);
    const x = readFloats(ctx, 0, columns);
    yield;
    return blockSquares(x, columns.hi - columns.lo, block);
  },
);
