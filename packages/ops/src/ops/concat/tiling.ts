/** @file concat: tiles are blocks of columns of the result. */
import type { OpInstance, OpTiling } from "@mpk/schedule";
import {
  columnBlock,
  columnBytes,
  inputColumns,
  outputColumns,
  readsInput,
  regionsOf,
  tasksOf,
  tileInterval,
} from "../../shared/tiles.ts";
import type { Interval } from "../../shared/tiles.ts";
import type { ConcatAttrs } from "./semantics.ts";

/** Columns of one part, and where they go. */
export interface PartInterval extends Interval {
  readonly part: number;
  /** Output column of `lo`. */
  readonly to: number;
}

/** The columns of each part that make up output columns [lo, hi). */
export function partIntervals(op: OpInstance, { lo, hi }: Interval): PartInterval[] {
  let start = 0;
  return op.inputs.flatMap((_, part) => {
    const at = start;
    start += inputColumns(op, part);
    const [from, to] = [Math.max(lo, at), Math.min(hi, start)];
    return from < to ? [{ part, lo: from - at, hi: to - at, to: from }] : [];
  });
}

export const tiling: OpTiling<ConcatAttrs> = tasksOf({
  tiles: (op) => Math.ceil(outputColumns(op) / columnBlock(op)),
  placement: "spread",
  regions(op, lo, hi) {
    const columns = tileInterval(outputColumns(op), columnBlock(op), lo, hi);
    const reads = partIntervals(op, columns).map((piece) => readsInput(piece.part, piece));
    return regionsOf(reads, columns);
  },
  tileCostBytes: (op) => columnBlock(op) * columnBytes(op),
});
