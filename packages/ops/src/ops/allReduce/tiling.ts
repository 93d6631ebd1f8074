/** @file allReduce: a view, so no tiles. */
import type { OpTiling } from "@mpk/schedule";
import { viewTiling } from "../../shared/tiles.ts";
import type { AllReduceAttrs } from "./semantics.ts";

export const tiling: OpTiling<AllReduceAttrs> = viewTiling(() => ({ column: 0, lastRow: false }));
