/** @file linear: a tile is 16 packed rows, 16 / groups / folds columns of the result. */
import type { OpInstance, OpTiling } from "@mpk/schedule";
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
import { goodFolds, rowFits } from "./folds.ts";
import { foldsOf } from "./packing.ts";
import { linearInputs } from "./semantics.ts";
import type { LinearAttrs } from "./semantics.ts";

/** Output columns of one tile. */
export const tileWidth = (op: OpInstance<LinearAttrs>): number =>
  16 / op.attrs.groups / foldsOf(op);

/** Extras that are activations, read in the columns written; the others are resident. */
export const activationExtras = (op: OpInstance<LinearAttrs>): number[] =>
  linearInputs(op.attrs, op.inputs.length).extras.filter((index) => {
    const type = op.inputs[index];
    return type !== undefined && !isVector(type);
  });

/** With `lastRow` too, x's region is all its columns: a region never tells rows apart. */
export const tiling: OpTiling<LinearAttrs> = tasksOf({
  tiles: (op) => Math.ceil(outputColumns(op) / tileWidth(op)),
  placement: "spread",
  folds: goodFolds,
  regions(op, lo, hi) {
    const columns = tileInterval(outputColumns(op), tileWidth(op), lo, hi);
    const x = readsInput(0, { lo: 0, hi: inputColumns(op, 0) });
    const extras = activationExtras(op).map((index) => readsInput(index, columns));
    const { squares } = linearInputs(op.attrs, op.inputs.length);
    const sums = squares === null
      ? [] : [readsInput(squares, { lo: 0, hi: inputColumns(op, squares) })];
    return regionsOf([x, ...sums, ...extras], columns);
  },
  tileCostBytes: (op) => tileWidth(op) * columnBytes(op),
}, {
  polls: (op, budget) => (rowFits(op, budget) ? [0, ...activationExtras(op)] : []),
  stores: (op, budget) => rowFits(op, budget),
});
