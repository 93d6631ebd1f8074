/** @file pointwise: tiles are blocks of columns. */
import type { OpInstance, OpTiling } from "@mpk/schedule";
import { isVector } from "../../shared/shapes.ts";
import { columnBlock, columnTiling, inputColumns, outputColumns } from "../../shared/tiles.ts";
import type { PointwiseAttrs } from "./semantics.ts";

/** Inputs that are no resident weights and have one column, or as many as the output. */
const activations = (op: OpInstance, scalar: boolean): number[] =>
  [...op.inputs.keys()].filter((index) => {
    const type = op.inputs[index];
    if (type === undefined || isVector(type)) return false;
    return (inputColumns(op, index) !== outputColumns(op)) === scalar;
  });

export const tiling: OpTiling<PointwiseAttrs> = columnTiling({
  width: columnBlock,
  aligned: (op) => activations(op, false),
  whole: (op) => activations(op, true),
  flags: {
    polls: (op) => [...activations(op, false), ...activations(op, true)],
    stores: () => true,
  },
});
