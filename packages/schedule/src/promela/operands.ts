/** @file What each task touches, and where the plan places it: its own reading of both. Pure. */
import { dtypeBytes } from "@mpk/ir";
import type { Op } from "@mpk/ir";
import type { OpInstance, OpSchedule, Region, ScheduleTable } from "../contracts.ts";
import { describeOp, PlanError } from "../errors.ts";
import type { Plan } from "../plan.ts";
import { columnsOf, rowsOf } from "../planner/shapes.ts";

/** In the order of the numbers in the model's text. */
export const touchKinds = [
  "read", "write", "past", "appended", "append", "open",
  "readMany", "writeMany", "poll0", "poll1", "word0", "word1",
] as const;
export type TouchKind = (typeof touchKinds)[number];

/** What a slot (a place in an SM's order) does to a cell. */
export interface Touch {
  readonly slot: number;
  readonly kind: TouchKind;
  /** What is written or expected, as a number; 0 for state and descriptor. */
  readonly value: number;
}

/** In a step of one token, `slot` reads a word that `writer` stores; -1: that nobody stores. */
export interface Poll {
  readonly slot: number;
  readonly writer: number;
}

/** An interval [lo, hi) of one space (the arena, a state's columns), and what is done to it. */
export interface Span {
  readonly lo: number;
  readonly hi: number;
  readonly touch: Touch;
}

export interface Operands {
  readonly slots: readonly Slot[];
  readonly arena: readonly Span[];
  /** By state value. */
  readonly states: ReadonlyMap<number, readonly Span[]>;
  readonly polls: readonly Poll[];
}

export interface Slot {
  readonly slot: number;
  readonly op: Op;
  readonly schedule: OpSchedule<unknown>;
  readonly instance: OpInstance;
  readonly tileLo: number;
  readonly tileHi: number;
}

function resolve(plan: Plan, table: ScheduleTable, op: Op, index: number) {
  const schedule = table.get(op.kind) as OpSchedule<unknown> | undefined;
  if (schedule === undefined) throw new PlanError(`${describeOp(op)}: not in the op table`);
  const { values, limits } = plan.program;
  const instance: OpInstance = {
    kind: op.kind,
    attrs: schedule.semantics.parseAttrs(op.attrs),
    inputs: op.inputs.flatMap((id) => values[id]?.type ?? []),
    outputs: op.outputs.flatMap((id) => values[id]?.type ?? []),
    maxTokens: limits.maxTokens,
    folds: plan.layouts[index]?.folds ?? 1,
  };
  return { op, schedule, instance };
}

function slotsOf(plan: Plan, table: ScheduleTable): readonly Slot[] {
  return Array.from(plan.order.items, (task, slot) => {
    const index = plan.tasks.op[task] ?? -1;
    const op = plan.program.ops[index];
    if (op === undefined) throw new PlanError(`task ${task} runs an op that does not exist`);
    const [tileLo, tileHi] = [plan.tasks.tileLo[task] ?? 0, plan.tasks.tileHi[task] ?? 0];
    return { slot, ...resolve(plan, table, op, index), tileLo, tileHi };
  });
}

/** Everything that the plan's tasks touch. Throws `PlanError` where the table does not cover it. */
export function collectOperands(plan: Plan, table: ScheduleTable): Operands {
  const slots = slotsOf(plan, table);
  const places = new Places(plan, table);
  const arena: Span[] = [];
  const states = new Map<number, Span[]>();
  const stores: Words[] = [];
  const loads: Words[] = [];
  for (const at of slots) {
    const regions = at.schedule.tiling.regions(at.instance, at.tileLo, at.tileHi);
    for (const [kind, list] of [["read", regions.reads], ["write", regions.writes]] as const) {
      for (const region of list) {
        const found = places.find(at, region);
        if (found === null) continue;
        arena.push(...places.spans(at.slot, found, kind));
        if (found.flag >= 0) (kind === "read" ? loads : stores).push({ ...found, slot: at.slot });
      }
    }
    for (const { state, rows, access, lo, hi } of regions.states) {
      const past = rows === "past" ? "past" : "appended";
      const kind = access === "write" ? "append" : past;
      const id = at.op.states[state] ?? -1;
      const spans = states.get(id) ?? [];
      spans.push({ lo, hi, touch: { slot: at.slot, kind, value: 0 } });
      states.set(id, spans);
    }
  }
  return { slots, arena, states, polls: loads.flatMap((load) => pollsOf(load, stores)) };
}

/** Columns [lo, hi) of the value that the plan says holds an operand, and what should be there. */
interface Found {
  readonly base: number;
  readonly lo: number;
  readonly hi: number;
  /** Position in the plan's table of flagged values; -1: none of them. */
  readonly flag: number;
  /** The value whose columns these should be, and its column for `lo`. */
  readonly meant: number;
  readonly meantLo: number;
}

type Words = Found & { readonly slot: number };

function pollsOf(load: Words, stores: readonly Words[]): readonly Poll[] {
  const own = stores.filter((store) => store.flag === load.flag);
  const writers = own.filter((store) => store.lo < load.hi && load.lo < store.hi);
  let reached = load.lo;
  for (const { lo, hi } of [...writers].sort((a, b) => a.lo - b.lo)) {
    if (lo <= reached) reached = Math.max(reached, hi);
  }
  const polls = writers.map(({ slot }) => ({ slot: load.slot, writer: slot }));
  return reached < load.hi ? [...polls, { slot: load.slot, writer: -1 }] : polls;
}

/** Where the plan places operands, and what the ops' tilings say is to be there. */
class Places {
  readonly #plan: Plan;
  /** By view: whose columns it shows, from which on. */
  readonly #views = new Map<number, { base: number; column: number }>();
  readonly #contents = new Map<string, number>();

  constructor(plan: Plan, table: ScheduleTable) {
    this.#plan = plan;
    for (const [index, op] of plan.program.ops.entries()) {
      const { schedule, instance } = resolve(plan, table, op, index);
      const view = schedule.tiling.view(instance);
      const [input = -1, output = -1] = [op.inputs[0], op.outputs[0]];
      if (view === null) continue;
      const from = this.#views.get(input) ?? { base: input, column: 0 };
      this.#views.set(output, { base: from.base, column: from.column + view.column });
    }
  }

  /** Null for what is not in the arena: weights, the step's inputs. */
  find({ op }: Slot, { operand, index, lo, hi }: Region): Found | null {
    const id = (operand === "input" ? op.inputs : op.outputs)[index] ?? -1;
    let [base, column] = [id, 0];
    // A chain of views is never longer than there are values.
    for (let hops = 0; hops < this.#plan.placements.length; hops++) {
      const place = this.#plan.placements[base];
      if (place?.kind !== "view") break;
      base = place.of;
      column += place.column;
    }
    if (this.#plan.placements[base]?.kind !== "scratch") return null;
    const right = this.#views.get(id) ?? { base: id, column: 0 };
    return {
      base, lo: lo + column, hi: hi + column, flag: this.#plan.flags.value.indexOf(base),
      meant: right.base, meantLo: lo + right.column,
    };
  }

  /** Bytes of the arena, row by row; of a flagged value also those of its two copies. */
  spans(slot: number, found: Found, kind: "read" | "write"): readonly Span[] {
    const { base, flag, meant } = found;
    const { flags, program } = this.#plan;
    const plain = flag < 0 ? kind : kind === "read" ? "readMany" : "writeMany";
    const [rows, rowBytes] = [this.#rows(base), this.#rowBytes(base)];
    const spans = Array.from({ length: rows }, (_, row) => {
      const start = this.#start(base) + row * rowBytes;
      const right = this.#start(meant) + row * this.#rowBytes(meant);
      return this.#span(found, start, right, { slot, kind: plain }, program.values.length);
    });
    if (flag < 0) return spans;
    const words = kind === "read" ? (["poll0", "poll1"] as const) : (["word0", "word1"] as const);
    const copies = words.map((as, copy) => {
      const copyStart = flags.startBytes + copy * flags.copyBytes;
      const start = copyStart + (flags.offsetBytes[flag] ?? 0);
      const right = copyStart + (flags.offsetBytes[flags.value.indexOf(meant)] ?? 0);
      return this.#span(found, start, right, { slot, kind: as }, 0);
    });
    return [...spans, ...copies];
  }

  /** `space` keeps copies apart from plain memory: what is in one is never right in the other. */
  #span(
    { base, lo, hi, meant, meantLo }: Found,
    start: number,
    right: number,
    touch: Omit<Touch, "value">,
    space: number,
  ): Span {
    const [width, meantWidth] = [this.#width(base), this.#width(meant)];
    // An element of a value, told by how far it is from where it should be.
    const away = start + lo * width - (right + meantLo * meantWidth);
    const key = `${meant} ${away} ${space}`;
    const value = this.#contents.get(key) ?? this.#contents.size;
    this.#contents.set(key, value);
    return { lo: start + lo * width, hi: start + hi * width, touch: { ...touch, value } };
  }

  #start(value: number): number {
    const place = this.#plan.placements[value];
    return place?.kind === "scratch" ? place.offsetBytes : 0;
  }

  #width(value: number): number {
    const type = this.#plan.program.values[value]?.type;
    return type === undefined ? 1 : dtypeBytes[type.dtype];
  }

  #rows(value: number): number {
    const type = this.#plan.program.values[value]?.type;
    return type === undefined ? 0 : rowsOf(type, this.#plan.program.limits.maxTokens);
  }

  #rowBytes(value: number): number {
    const type = this.#plan.program.values[value]?.type;
    return type === undefined ? 0 : columnsOf(type) * this.#width(value);
  }
}
