/** @file Slices of checkpoint tensors: what a rank takes of a weight. Pure. */
import type { TensorType, WeightPart } from "../types.ts";

/** The shape of the whole tensor that a part of a weight of `type` is taken from. */
export function wholeShape(type: TensorType, { rows, slice }: WeightPart): readonly number[] {
  const shape = [rows, ...type.shape.slice(1).map(Number)];
  return shape.map((size, axis) => (axis === slice?.axis ? size * slice.of : size));
}
