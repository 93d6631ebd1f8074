/** @file rmsNorm: a tile is one run of columns that is normalized by itself. */
import type { OpTiling } from "@mpk/schedule";
import { columnTiling } from "../../shared/tiles.ts";
import type { RmsNormAttrs } from "./semantics.ts";

export const tiling: OpTiling<RmsNormAttrs> = columnTiling({
  width: (op) => op.attrs.width,
  aligned: () => [0],
});
