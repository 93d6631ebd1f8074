/** @file How ops are tiled, packed and run as tasks, for the scheduler and the virtual GPU. */
import type { ScheduleTable } from "@mpk/schedule";
import { opTable } from "./table.ts";

/** The scheduling facets of each op by name. */
export const scheduleTable: ScheduleTable = new Map(
  opTable.map((op) => [op.semantics.name, op]),
);
