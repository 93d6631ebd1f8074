/** @file slice: a view, so no tiles. */
import type { OpTiling } from "@mpk/schedule";
import { viewTiling } from "../../shared/tiles.ts";
import type { SliceAttrs } from "./semantics.ts";

export const tiling: OpTiling<SliceAttrs> = viewTiling(({ start }) => ({
  column: start,
  lastRow: false,
}));
