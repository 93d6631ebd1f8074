/** @file What the viewer's page holds: a plan with its dependencies, its text, and runs of it. Pure. */
import { printProgram, siteText, typeText, type Program } from "@mpk/ir";
import { scheduleTable } from "@mpk/ops";
import type { Profile } from "@mpk/runtime";
import { modelOf, type IdLists, type Plan, type Recording } from "@mpk/schedule";
import { opName } from "../profile/accounts.ts";
import { windowOf } from "../profile/index.ts";
import { floats, ints, type Packed } from "./pack.ts";

/** Marks of a slot, in this order; a mark that was not made is NaN. Nanoseconds. */
export const markNames = [
  "start", "ready", "placed", "asked", "data", "consumed", "stored", "end", "stalled",
] as const satisfies readonly (keyof Profile["steps"][number]["sms"][number]["instructions"][number] |
  "stalled")[];

/** One step that was measured or predicted. */
export interface ViewRun {
  readonly label: string;
  readonly kind: "predicted" | "measured";
  /** Where and with what. */
  readonly detail: string;
  readonly stepNanos: number;
  /** [slots, marks], relative to the step's start. */
  readonly marks: Packed;
  /** By SM how many times its ring was full, then from and to of each. */
  readonly fullCounts: Packed;
  readonly full: Packed;
  /** Where it is known: bytes that arrived in each bin, and that rings held at its end. */
  readonly series: {
    readonly binNanos: number;
    readonly read: Packed;
    readonly held: Packed;
  } | null;
}

export interface ViewOp {
  readonly kind: string;
  /** By its weights, else by its kind. */
  readonly name: string;
  readonly scope: string;
  readonly layer: number | null;
  readonly site: string;
  /** Its line in `program`. */
  readonly line: number;
  readonly outputs: readonly string[];
  readonly inputs: readonly string[];
}

/** Lists by owner: those of owner i are `items[start[i]] .. items[start[i + 1] - 1]`. */
interface PackedLists {
  readonly start: Packed;
  readonly items: Packed;
}

export interface ViewData {
  readonly format: "mpk-view";
  readonly version: 1;
  readonly model: string;
  readonly sms: number;
  readonly readBytesPerSecond: number;
  readonly ringBytes: number;
  readonly streamBytes: number;
  readonly ops: readonly ViewOp[];
  readonly values: readonly string[];
  readonly program: readonly string[];
  /** TypeScript that ops were written in, by path, as far as it is here. */
  readonly sources: Readonly<Record<string, string>>;
  /** By SM, where its slots start. */
  readonly order: Packed;
  /** By slot. */
  readonly op: Packed;
  readonly tileLo: Packed;
  readonly tileHi: Packed;
  readonly bytes: Packed;
  /** Events of the same step, by slot. */
  readonly waits: PackedLists;
  readonly signals: PackedLists;
  /** By slot, triples: value, first column, column behind the last. */
  readonly reads: PackedLists;
  readonly writes: PackedLists;
  readonly runs: readonly ViewRun[];
}

const rangeOf = (lists: IdLists, owner: number): readonly number[] =>
  Array.from(lists.items.subarray(lists.start[owner], lists.start[owner + 1]));

function pack(lists: readonly (readonly number[])[]): PackedLists {
  const start = [0];
  for (const list of lists) start.push((start.at(-1) ?? 0) + list.length);
  return { start: ints(start), items: ints(lists.flat()) };
}

/** The page's data. `sources`: texts of files that ops were written in. */
export function viewData(
  title: string,
  plan: Plan,
  runs: readonly ViewRun[],
  sources: Readonly<Record<string, string>>,
): ViewData {
  const { order, tasks, machine, ring, program } = plan;
  const model = modelOf(plan, scheduleTable);
  const slots = Array.from({ length: order.items.length }, (_, slot) => slot);
  const task = (slot: number): number => order.items[slot] ?? 0;
  const bytes = new Map<number, number>();
  for (const one of plan.streams.flat()) {
    bytes.set(one.task, (bytes.get(one.task) ?? 0) + one.chunks * one.chunkBytes);
  }
  const within = (event: number): boolean => plan.events.crossStep[event] === 0;
  const triples = (list: readonly { value: number; lo: number; hi: number }[]) =>
    list.flatMap(({ value, lo, hi }) => [value, lo, hi]);
  const lines = printProgram(program).split("\n");
  return {
    format: "mpk-view",
    version: 1,
    model: title,
    sms: machine.sms,
    readBytesPerSecond: machine.readBytesPerSecond,
    ringBytes: ring.stages * ring.stageBytes,
    streamBytes: [...bytes.values()].reduce((a, b) => a + b, 0),
    ops: opsOf(plan, lines),
    values: program.values.map(({ name, type }) => `${name}: ${typeText(type)}`),
    program: lines,
    sources,
    order: ints(order.start),
    op: ints(slots.map((slot) => tasks.op[task(slot)] ?? 0)),
    tileLo: ints(slots.map((slot) => tasks.tileLo[task(slot)] ?? 0)),
    tileHi: ints(slots.map((slot) => tasks.tileHi[task(slot)] ?? 0)),
    bytes: ints(slots.map((slot) => bytes.get(task(slot)) ?? 0)),
    waits: pack(slots.map((slot) => rangeOf(plan.waits, task(slot)).filter(within))),
    signals: pack(slots.map((slot) => rangeOf(plan.signals, task(slot)).filter(within))),
    reads: pack(slots.map((slot) => triples(model.reads(slot)))),
    writes: pack(slots.map((slot) => triples(model.writes(slot)))),
    runs,
  };
}

/** The line of the text form that each op is on: ops come in order, a line each. */
function opsOf(plan: Plan, lines: readonly string[]): readonly ViewOp[] {
  const { program } = plan;
  const starts = opLines(program, lines);
  const nameOf = (id: number): string => program.values[id]?.name ?? `value ${id}`;
  return program.ops.map((op, index) => {
    const found = /(?:^|\.)(\d+)(?:\.|$)/.exec(op.scope)?.[1];
    return {
      kind: op.kind, name: opName(plan, index), scope: op.scope,
      layer: found === undefined ? null : Number(found),
      site: op.site === null ? "" : siteText(op.site),
      line: starts[index] ?? 0,
      outputs: op.outputs.map(nameOf),
      inputs: op.inputs.map(nameOf),
    };
  });
}

function opLines(program: Program, lines: readonly string[]): readonly number[] {
  let at = 0;
  return program.ops.map(({ outputs }) => {
    const name = program.values[outputs[0] ?? -1]?.name;
    if (name === undefined) return at;
    const found = lines.findIndex((line, i) => i >= at && line.trimStart().startsWith(`%${name}`)
      && line.includes(" = "));
    if (found >= 0) at = found + 1;
    return found < 0 ? Math.max(0, at - 1) : found;
  });
}

/** A step of a profile as a run of the page. Its marks must be of this plan: see `requireSamePlan`. */
export function runOf(
  plan: Plan,
  profile: Profile,
  index: number,
  told: Pick<ViewRun, "label" | "kind" | "detail">,
  recording: Recording | null = null,
): ViewRun {
  const step = profile.steps[index];
  if (step === undefined) throw new RangeError(`no step ${index} in the profile`);
  const { from, to } = windowOf(step, profile.steps[index + 1]);
  const marks = new Float32Array(plan.order.items.length * markNames.length).fill(NaN);
  for (const { sm, instructions } of step.sms) {
    for (const one of instructions) {
      const at = ((plan.order.start[sm] ?? 0) + one.instruction) * markNames.length;
      const times = [
        one.start, one.ready, one.placed, one.asked, one.data, one.consumed, one.stored, one.end,
      ];
      times.forEach((nanos, i) => {
        if (nanos !== null) marks[at + i] = nanos - from;
      });
      marks[at + times.length] = one.stalledNanos;
    }
  }
  const full = profile.ringFull.map((list) =>
    list.filter((one) => one.to > from && one.from < to)
      .flatMap((one) => [Math.max(one.from, from) - from, Math.min(one.to, to) - from]));
  return {
    ...told,
    stepNanos: to - from,
    marks: floats(marks),
    fullCounts: ints(full.map((list) => list.length / 2)),
    full: floats(full.flat()),
    series: recording === null ? null : {
      binNanos: recording.binNanos,
      read: floats(recording.readBytes),
      held: floats(recording.heldBytes),
    },
  };
}
