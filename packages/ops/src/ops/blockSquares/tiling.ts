/** @file blockSquares: a tile is one block of columns, and writes one column. */
import type { OpTiling } from "@mpk/schedule";
import {
  columnBytes, inputColumns, outputColumns, readsInput, regionsOf, tasksOf, tileInterval,
} from "../../shared/tiles.ts";
import type { BlockSquaresAttrs } from "./semantics.ts";

export const tiling: OpTiling<BlockSquaresAttrs> = tasksOf({
  tiles: (op) => outputColumns(op),
  placement: "spread",
  regions(op, lo, hi) {
    const columns = tileInterval(inputColumns(op, 0), op.attrs.block, lo, hi);
    return regionsOf([readsInput(0, columns)], { lo, hi });
  },
  tileCostBytes: (op) => op.attrs.block * columnBytes(op),
});
