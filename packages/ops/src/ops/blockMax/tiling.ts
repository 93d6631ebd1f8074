/** @file blockMax: a tile is one block of columns, and writes one pair. */
import type { OpTiling } from "@mpk/schedule";
import {
  columnBytes,
  inputColumns,
  readsInput,
  regionsOf,
  tasksOf,
  tileInterval,
} from "../../shared/tiles.ts";
import type { BlockMaxAttrs } from "./semantics.ts";

export const tiling: OpTiling<BlockMaxAttrs> = tasksOf({
  tiles: (op) => Math.ceil(inputColumns(op, 0) / op.attrs.block),
  placement: "spread",
  regions(op, lo, hi) {
    const reads = [readsInput(0, tileInterval(inputColumns(op, 0), op.attrs.block, lo, hi))];
    return regionsOf(reads, { lo: 2 * lo, hi: 2 * hi });
  },
  tileCostBytes: (op) => op.attrs.block * columnBytes(op),
});
