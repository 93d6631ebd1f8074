/** @file pointwise: vectors of weights are resident. */
import { isVector } from "../../shared/shapes.ts";
import { residentPacking } from "../../shared/tiles.ts";

export const packing = residentPacking((op) =>
  op.inputs.flatMap((type, index) => (isVector(type) ? [index] : [])),
);
