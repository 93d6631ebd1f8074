/** @file lastRow: a view, so no tiles. */
import type { OpTiling } from "@mpk/schedule";
import { viewTiling } from "../../shared/tiles.ts";
import type { LastRowAttrs } from "./semantics.ts";

export const tiling: OpTiling<LastRowAttrs> = viewTiling(() => ({ column: 0, lastRow: true }));
