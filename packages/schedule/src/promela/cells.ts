/**
 * @file Cuts memory into cells: bytes that the same tasks touch in the same way behave alike, so
 * one of them stands for all. Reads the plan and the op table on its own. Pure.
 */
import { dtypeBytes } from "@mpk/ir";
import type { Op } from "@mpk/ir";
import type { OpInstance, OpSchedule, Region, ScheduleTable } from "../contracts.ts";
import { describeOp, PlanError } from "../errors.ts";
import type { Plan } from "../plan.ts";
import { columnsOf, rowsOf } from "../planner/shapes.ts";

/** In the order of the numbers in the model's text. */
export const touchKinds = ["read", "write", "past", "appended", "append", "open"] as const;
export type TouchKind = (typeof touchKinds)[number];

/** What a slot (a place in an SM's order) does to a cell. */
export interface Touch {
  readonly slot: number;
  readonly kind: TouchKind;
  /** What is written or expected, as a number of `Cells.contents`; 0 for state and descriptor. */
  readonly value: number;
}

export interface Cell {
  readonly kind: "scratch" | "kv" | "descriptor";
  /** For comments: where it is, and whose. */
  readonly name: string;
  /** In the order of slots. */
  readonly touches: readonly Touch[];
  readonly part: number;
}

/** An interval [lo, hi) of one space (the arena, a state's columns), and what is done to it. */
interface Span {
  readonly lo: number;
  readonly hi: number;
  readonly touch: Touch;
}

interface Slot {
  readonly slot: number;
  readonly op: Op;
  readonly schedule: OpSchedule<unknown>;
  readonly instance: OpInstance;
  readonly tileLo: number;
  readonly tileHi: number;
}

/** Where a value's columns begin: in which value's rows, at which column. */
interface Place {
  readonly base: number;
  readonly column: number;
}

/** Every cell that something reads. Throws `PlanError` for a plan that the table does not cover. */
export function cutCells(plan: Plan, table: ScheduleTable): readonly Cell[] {
  const slots = slotsOf(plan, table);
  const contents = new Map<string, number>();
  const meant = meanings(plan, table);
  const arena: Span[] = [];
  const states = new Map<number, Span[]>();
  for (const at of slots) {
    const { reads, writes, states: touched } = regionsOf(at);
    const add = (region: Region, kind: "read" | "write"): void =>
      void arena.push(...spansOf(plan, meant, contents, at, region, kind));
    for (const region of reads) add(region, "read");
    for (const region of writes) add(region, "write");
    for (const { state, rows, access, lo, hi } of touched) {
      const write = access === "write";
      const kind = write ? "append" : rows === "past" ? "past" : "appended";
      const id = at.op.states[state] ?? -1;
      const spans = states.get(id) ?? [];
      spans.push({ lo, hi, touch: { slot: at.slot, kind, value: 0 } });
      states.set(id, spans);
    }
  }
  return [
    ...classes(arena).map(({ lo, touches }): Cell => ({
      kind: "scratch", name: `arena byte ${lo}`, touches, part: 0,
    })),
    ...[...states].flatMap(([state, spans]) =>
      classes(spans).map(({ lo, touches }): Cell => {
        const name = `${plan.program.values[state]?.name ?? `state ${state}`} column ${lo}`;
        return { kind: "kv", name, touches, part: 0 };
      }),
    ),
    ...descriptors(slots),
  ];
}

function resolve(plan: Plan, table: ScheduleTable, op: Op) {
  const schedule = table.get(op.kind) as OpSchedule<unknown> | undefined;
  if (schedule === undefined) throw new PlanError(`${describeOp(op)}: not in the op table`);
  const { values, limits } = plan.program;
  const instance: OpInstance = {
    kind: op.kind,
    attrs: schedule.semantics.parseAttrs(op.attrs),
    inputs: op.inputs.flatMap((id) => values[id]?.type ?? []),
    outputs: op.outputs.flatMap((id) => values[id]?.type ?? []),
    maxTokens: limits.maxTokens,
  };
  return { op, schedule, instance };
}

function slotsOf(plan: Plan, table: ScheduleTable): readonly Slot[] {
  return Array.from(plan.order.items, (task, slot) => {
    const op = plan.program.ops[plan.tasks.op[task] ?? -1];
    if (op === undefined) throw new PlanError(`task ${task} runs an op that does not exist`);
    const [tileLo, tileHi] = [plan.tasks.tileLo[task] ?? 0, plan.tasks.tileHi[task] ?? 0];
    return { slot, ...resolve(plan, table, op), tileLo, tileHi };
  });
}

function regionsOf({ schedule, instance, tileLo, tileHi }: Slot) {
  return schedule.tiling.regions(instance, tileLo, tileHi);
}

/** Whose columns a value's columns are, by the ops' tilings, whatever the plan says. */
function meanings(plan: Plan, table: ScheduleTable): ReadonlyMap<number, Place> {
  const meant = new Map<number, Place>();
  for (const op of plan.program.ops) {
    const { schedule, instance } = resolve(plan, table, op);
    const view = schedule.tiling.view(instance);
    const [input = -1, output = -1] = [op.inputs[0], op.outputs[0]];
    if (view === null) continue;
    const from = meant.get(input) ?? { base: input, column: 0 };
    meant.set(output, { base: from.base, column: from.column + view.column });
  }
  return meant;
}

/**
 * The bytes of an operand's columns, row by row, where the plan places them, and what should be in
 * them: an element of a value, told by where the element's canonical place is from here.
 */
function spansOf(
  plan: Plan,
  meant: ReadonlyMap<number, Place>,
  contents: Map<string, number>,
  { slot, op, instance }: Slot,
  { operand, index, lo, hi }: Region,
  kind: "read" | "write",
): readonly Span[] {
  const id = (operand === "input" ? op.inputs : op.outputs)[index] ?? -1;
  const { base, column } = placed(plan, id);
  const place = plan.placements[base];
  const type = plan.program.values[base]?.type;
  if (place?.kind !== "scratch" || type === undefined) return [];
  const right = meant.get(id) ?? { base: id, column: 0 };
  const rightType = plan.program.values[right.base]?.type ?? type;
  const rightPlace = plan.placements[right.base];
  const rightOffset = rightPlace?.kind === "scratch" ? rightPlace.offsetBytes : -1;
  return Array.from({ length: rowsOf(type, instance.maxTokens) }, (_, row) => {
    const width = dtypeBytes[type.dtype];
    const start = place.offsetBytes + (row * columnsOf(type) + column) * width;
    const canonical =
      rightOffset + (row * columnsOf(rightType) + right.column) * dtypeBytes[rightType.dtype];
    const key = `${right.base} ${start - canonical}`;
    const value = contents.get(key) ?? contents.size;
    contents.set(key, value);
    return { lo: start + lo * width, hi: start + hi * width, touch: { slot, kind, value } };
  });
}

/** Where the plan says that a value's columns are. */
function placed(plan: Plan, id: number): Place {
  let [base, column] = [id, 0];
  // A chain of views is never longer than there are values.
  for (let hops = 0; hops < plan.placements.length; hops++) {
    const place = plan.placements[base];
    if (place?.kind !== "view") break;
    base = place.of;
    column += place.column;
  }
  return { base, column };
}

/** The two step descriptors: every SM reads one as it enters a step, the effect writes the next. */
function descriptors(slots: readonly Slot[]): readonly Cell[] {
  const touches = slots
    .filter(({ schedule }) => schedule.semantics.traits.effect)
    .map(({ slot }): Touch => ({ slot, kind: "open", value: 0 }));
  if (touches.length === 0) return [];
  return [0, 1].map((part) => ({
    kind: "descriptor", name: `step descriptor ${part}`, touches, part,
  }));
}

/** Cuts the spans at all their ends and joins the pieces that the same touches meet in. */
function classes(spans: readonly Span[]): readonly { lo: number; touches: readonly Touch[] }[] {
  const cuts = [...new Set(spans.flatMap(({ lo, hi }) => [lo, hi]))].sort((a, b) => a - b);
  const found = new Map<string, { lo: number; touches: readonly Touch[] }>();
  for (const lo of cuts) {
    const here = spans.filter((span) => span.lo <= lo && lo < span.hi);
    if (!here.some(({ touch }) => touch.kind !== "write" && touch.kind !== "append")) continue;
    const unique = new Map(
      here.map(({ touch }) => [`${touch.slot} ${touch.kind} ${touch.value}`, touch]),
    );
    const key = [...unique.keys()].sort().join(", ");
    if (found.has(key)) continue;
    const touches = [...unique.values()].sort((a, b) => a.slot - b.slot);
    found.set(key, { lo, touches });
  }
  return [...found.values()];
}
