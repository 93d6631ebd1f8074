/** @file layerNorm: a tile is one run of columns that is normalized by itself. */
import type { OpTiling } from "@mpk/schedule";
import { columnTiling } from "../../shared/tiles.ts";
import type { LayerNormAttrs } from "./semantics.ts";

export const tiling: OpTiling<LayerNormAttrs> = columnTiling({
  width: (op) => op.attrs.width,
  aligned: () => [0],
});
