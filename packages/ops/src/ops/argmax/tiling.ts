/** @file argmax: one task for all rows. */
import type { OpTiling } from "@mpk/schedule";
import { singleTiling } from "../../shared/tiles.ts";
import type { ArgmaxAttrs } from "./semantics.ts";

export const tiling: OpTiling<ArgmaxAttrs> = singleTiling(() => [0]);
