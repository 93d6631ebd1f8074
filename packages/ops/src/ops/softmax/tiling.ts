/** @file softmax: a tile is one run of columns that sums to 1. */
import type { OpTiling } from "@mpk/schedule";
import { columnTiling } from "../../shared/tiles.ts";
import type { SoftmaxAttrs } from "./semantics.ts";

export const tiling: OpTiling<SoftmaxAttrs> = columnTiling({
  width: (op) => op.attrs.width,
  aligned: () => [0],
});
