/** @file rope: a tile is one head. */
import type { OpTiling } from "@mpk/schedule";
import { columnTiling } from "../../shared/tiles.ts";
import type { RopeAttrs } from "./semantics.ts";

export const tiling: OpTiling<RopeAttrs> = columnTiling({
  width: (op) => op.attrs.headDim,
  aligned: () => [0],
  whole: () => [1],
});
