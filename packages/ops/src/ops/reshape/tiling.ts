/** @file reshape: a view, so no tiles. */
import type { OpTiling } from "@mpk/schedule";
import { viewTiling } from "../../shared/tiles.ts";
import type { ReshapeAttrs } from "./semantics.ts";

export const tiling: OpTiling<ReshapeAttrs> = viewTiling(() => ({ column: 0, lastRow: false }));
