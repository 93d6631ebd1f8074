/** @file Plans as JSON text: typed arrays as arrays, the Program in its text form. Pure. */
import { printProgram } from "@mpk/ir";
import type { IdLists, Plan } from "./plan.ts";

const lists = ({ start, items }: IdLists): { start: number[]; items: number[] } => ({
  start: [...start], items: [...items],
});

/** JSON text that `loadPlan` reads back to an equal plan. Deterministic. */
export function savePlan(plan: Plan): string {
  const { tasks, events, streams, flags } = plan;
  return JSON.stringify({
    format: plan.format,
    version: plan.version,
    // As lines, so that a saved plan can be read and compared by line.
    program: printProgram(plan.program).split("\n"),
    machine: plan.machine,
    ranks: plan.ranks,
    ring: plan.ring,
    tasks: {
      count: tasks.count,
      op: [...tasks.op], sm: [...tasks.sm], tileLo: [...tasks.tileLo], tileHi: [...tasks.tileHi],
    },
    order: lists(plan.order),
    waits: lists(plan.waits),
    signals: lists(plan.signals),
    events: {
      count: events.count,
      threshold: [...events.threshold],
      homeRank: [...events.homeRank],
      crossStep: [...events.crossStep],
      ...(events.manyOnly.includes(1) ? { manyOnly: [...events.manyOnly] } : {}),
    },
    edgesBeforeFusion: plan.edgesBeforeFusion,
    layouts: plan.layouts,
    streams,
    placements: plan.placements,
    scratchBytes: plan.scratchBytes,
    ...(flags.value.length === 0 ? {} : {
      flags: { ...flags, value: [...flags.value], offsetBytes: [...flags.offsetBytes] },
    }),
    pageTokens: plan.pageTokens,
    pages: plan.pages,
  });
}
