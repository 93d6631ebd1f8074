/** @file What two plans do differently, as readable lines. Pure. */
import { printProgram } from "@mpk/ir";
import { describeOp } from "./errors.ts";
import type { IdLists, Plan } from "./plan.ts";

/** More lines than this help nobody; the rest is counted. */
const mostPerPart = 12;

/** Differences by part of the plan, `-` as in `a`, `+` as in `b`; empty when they are equal. */
export function diffPlans(a: Plan, b: Plan): readonly string[] {
  return [
    ...part("program", printProgram(a.program).split("\n"), printProgram(b.program).split("\n")),
    ...part("machine", fields(a.machine), fields(b.machine)),
    ...part("ring", fields(a.ring), fields(b.ring)),
    ...part("memory", memoryLines(a), memoryLines(b)),
    ...part("layouts", layoutLines(a), layoutLines(b)),
    ...part("events", eventLines(a), eventLines(b)),
    ...part("tasks", taskLines(a), taskLines(b)),
    ...part("order", orderLines(a), orderLines(b)),
    ...part("streams", streamLines(a), streamLines(b)),
  ];
}

/** Lines of either side that the other lacks, in order, under a heading. */
function part(name: string, a: readonly string[], b: readonly string[]): readonly string[] {
  const [inA, inB] = [new Set(a), new Set(b)];
  const gone = a.filter((line) => !inB.has(line)).map((line) => `  - ${line}`);
  const come = b.filter((line) => !inA.has(line)).map((line) => `  + ${line}`);
  if (gone.length + come.length === 0) return [];
  const cut = (lines: readonly string[], sign: string): readonly string[] => {
    const more = lines.length - mostPerPart;
    return more > 0 ? [...lines.slice(0, mostPerPart), `  ${sign} … ${more} more`] : lines;
  };
  return [`${name}: ${gone.length} gone, ${come.length} new`, ...cut(gone, "-"), ...cut(come, "+")];
}

function fields(record: object): readonly string[] {
  return Object.entries(record).map(([key, value]) => `${key}: ${String(value)}`);
}

function memoryLines(plan: Plan): readonly string[] {
  const places = plan.placements.map((place, value) => {
    const name = plan.program.values[value]?.name ?? `value ${value}`;
    if (place.kind === "scratch") {
      return `${name}: ${place.bytes} bytes at ${place.offsetBytes} of the arena`;
    }
    if (place.kind !== "view") return `${name}: ${place.kind}`;
    const of = plan.program.values[place.of]?.name ?? `value ${place.of}`;
    return `${name}: columns from ${place.column} of ${of}${place.lastRow ? ", last row" : ""}`;
  });
  const { scratchBytes, pages, pageTokens, flags } = plan;
  const flagged = Array.from(flags.value, (value, i) => {
    const name = plan.program.values[value]?.name ?? `value ${value}`;
    return `${name}: flagged, at ${flags.offsetBytes[i]} of each copy`;
  });
  const copies = `copies of flagged values: ${flags.copyBytes} bytes from ${flags.startBytes}`;
  return [
    `arena: ${scratchBytes} bytes`, `KV: ${pages} pages of ${pageTokens}`, ...places,
    ...(flagged.length === 0 ? [] : [copies, ...flagged]),
  ];
}

function layoutLines(plan: Plan): readonly string[] {
  return plan.layouts.flatMap((layout, op) =>
    layout === null ? [] : [`op ${op}, ${opName(plan, op)}: ${fields(layout).join(", ")}`],
  );
}

function eventLines(plan: Plan): readonly string[] {
  const { events } = plan;
  return Array.from({ length: events.count }, (_, event) => {
    const cross = events.crossStep[event] === 1 ? ", previous step" : "";
    const many = events.manyOnly[event] === 1 ? ", steps of several tokens" : "";
    return `event ${event}: threshold ${events.threshold[event]}${cross}${many}`;
  });
}

function idsOf(lists: IdLists, owner: number): string {
  const ids = [...lists.items.subarray(lists.start[owner], lists.start[owner + 1])];
  return ids.length === 0 ? "nothing" : ids.join(" ");
}

function opName(plan: Plan, op: number): string {
  const found = plan.program.ops[op];
  return found === undefined ? `op ${op}` : describeOp(found);
}

function taskLines(plan: Plan): readonly string[] {
  const { tasks } = plan;
  return Array.from({ length: tasks.count }, (_, task) => {
    const op = tasks.op[task] ?? -1;
    return (
      `op ${op}, ${opName(plan, op)} tiles ${tasks.tileLo[task]}..${tasks.tileHi[task]} ` +
      `on SM ${tasks.sm[task]}: waits for ${idsOf(plan.waits, task)}; ` +
      `signals ${idsOf(plan.signals, task)}`
    );
  });
}

function orderLines(plan: Plan): readonly string[] {
  return Array.from(
    { length: plan.machine.sms }, (_, sm) => `SM ${sm}: tasks ${idsOf(plan.order, sm)}`,
  );
}

function streamLines(plan: Plan): readonly string[] {
  return plan.streams.flatMap((segments, sm) =>
    segments.map(
      ({ task, offsetBytes, chunks, chunkBytes }) =>
        `SM ${sm} at ${offsetBytes}: ${chunks} chunks of ${chunkBytes} bytes for task ${task}`,
    ),
  );
}
