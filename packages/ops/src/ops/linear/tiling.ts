/** @file linear: a tile is 16 packed rows, 16 / groups columns of the result. */
import type { OpInstance, OpTiling, PackingBudget } from "@mpk/schedule";
import { isVector } from "../../shared/shapes.ts";
import {
  columnBytes,
  inputColumns,
  outputColumns,
  readsInput,
  regionsOf,
  tasksOf,
  tileInterval,
} from "../../shared/tiles.ts";
import { streamLayout } from "./packing.ts";
import { isWide } from "./wide.ts";
import { linearInputs } from "./semantics.ts";
import type { LinearAttrs } from "./semantics.ts";

/** Output columns of one tile. */
export const tileWidth = (attrs: LinearAttrs): number => 16 / attrs.groups;

/** Extras that are activations, read in the columns written; the others are resident. */
export const activationExtras = (op: OpInstance<LinearAttrs>): number[] =>
  linearInputs(op.attrs, op.inputs.length).extras.filter((index) => {
    const type = op.inputs[index];
    return type !== undefined && !isVector(type);
  });

/** With `lastRow` too, x's region is all its columns: a region never tells rows apart. */
export const tiling: OpTiling<LinearAttrs> = tasksOf({
  tiles: (op) => Math.ceil(outputColumns(op) / tileWidth(op.attrs)),
  placement: "spread",
  regions(op, lo, hi) {
    const columns = tileInterval(outputColumns(op), tileWidth(op.attrs), lo, hi);
    const x = readsInput(0, { lo: 0, hi: inputColumns(op, 0) });
    const extras = activationExtras(op).map((index) => readsInput(index, columns));
    const { squares } = linearInputs(op.attrs, op.inputs.length);
    const sums = squares === null
      ? [] : [readsInput(squares, { lo: 0, hi: inputColumns(op, squares) })];
    return regionsOf([x, ...sums, ...extras], columns);
  },
  tileCostBytes: (op) => tileWidth(op.attrs) * columnBytes(op),
}, {
  polls: (op, budget) => (rowFits(op, budget) ? [0, ...activationExtras(op)] : []),
  stores: (op, budget) => rowFits(op, budget),
});

/**
 * Whether one token's whole x has room in shared memory: else it passes in slices. The body for many
 * tokens neither polls nor stores flagged.
 */
function rowFits(op: OpInstance<LinearAttrs>, budget: PackingBudget): boolean {
  if (isWide(op)) return false;
  const { blocksPerChunk, chunksPerTile } = streamLayout(op, budget);
  return chunksPerTile * blocksPerChunk * 64 + 64 <= budget.activationBytes;
}
