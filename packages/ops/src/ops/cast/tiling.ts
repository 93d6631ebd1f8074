/** @file cast: tiles are blocks of columns. */
import type { OpTiling } from "@mpk/schedule";
import { columnBlock, columnTiling } from "../../shared/tiles.ts";
import type { CastAttrs } from "./semantics.ts";

export const tiling: OpTiling<CastAttrs> = columnTiling({
  width: columnBlock,
  aligned: () => [0],
});
