/** @file A self-contained op table, so that the scheduler can be tried and tested on its own. */
import type { OpSchedule, ScheduleTable } from "../contracts.ts";
import { matmul } from "./toyMatmul.ts";
import { cols, fold, last, lookup, rotate } from "./toyOps.ts";
import { choose, mix } from "./toyState.ts";

/**
 * Seven kinds of op over small integers: `lookup` (resident table), `matmul` (streamed), `fold`
 * (pointwise), `rotate` (sparse needs), `mix` (KV state), `choose` (effect) and the views `cols`
 * and `last`. Results are exact in bf16, so any correct schedule gives the same bits.
 */
export const toyTable: ScheduleTable = new Map(
  Object.entries({ lookup, matmul, fold, rotate, mix, choose, cols, last }).map(
    // The attributes' type is parseAttrs' business: whoever holds a table cannot know it.
    ([name, op]): [string, OpSchedule<never>] => [name, op as unknown as OpSchedule<never>],
  ),
);
