/**
 * @file The verifier's own reading of a plan: who runs what where, and what each task touches,
 * recomputed from the op table. Shares nothing with the planner but the contracts.
 */
import type { Op } from "@mpk/ir";
import type { OpInstance, OpSchedule, ScheduleTable, TaskRegions } from "../contracts.ts";
import type { Plan } from "../plan.ts";
import { askView } from "./views.ts";
import type { ViewAnswer } from "./views.ts";

/** An op's facets, asked once per kind, attributes and types. */
export interface OpModel {
  readonly op: Op;
  readonly schedule: OpSchedule<unknown>;
  readonly instance: OpInstance;
  readonly tiles: number;
  readonly view: ViewAnswer | null;
  regions(lo: number, hi: number): TaskRegions;
}

/** Columns [lo, hi) of the value that holds the bytes. */
export interface Access {
  readonly value: number;
  readonly lo: number;
  readonly hi: number;
}

/** How a task uses a KV state, in columns of [kvHeads * headDim]. */
export interface StateAccess {
  /** Value id. */
  readonly state: number;
  readonly rows: "past" | "append";
  readonly write: boolean;
  readonly lo: number;
  readonly hi: number;
}

/**
 * A slot is one place in an SM's order; its number is its place in `order.items`. Slots run, tasks
 * are only described: a task listed twice has two slots.
 */
export interface Model {
  readonly plan: Plan;
  readonly ops: readonly OpModel[];
  readonly slots: number;
  readonly slotSm: Int32Array;
  readonly slotTask: Int32Array;
  /** By op: its slots. */
  readonly opSlots: readonly (readonly number[])[];
  /** By value: where its bytes are, views followed. */
  readonly resolve: (value: number) => { readonly base: number; readonly column: number };
  readonly reads: (slot: number) => readonly Access[];
  readonly writes: (slot: number) => readonly Access[];
  readonly states: (slot: number) => readonly StateAccess[];
  readonly isFlagged: (value: number) => boolean;
  /** What a slot polls in a step of one token, and the slots that write it. */
  readonly polled: (slot: number) => readonly Poll[];
}

/** A slot writes words of a flagged value that another polls. */
export interface Poll {
  readonly value: number;
  readonly writer: number;
}

/** Throws with the reason when the table does not cover the program: nothing can be checked. */
export function buildModel(plan: Plan, table: ScheduleTable): Model {
  const ops = modelOps(plan, table);
  const slotTask = plan.order.items;
  const slotSm = new Int32Array(slotTask.length);
  const opSlots: number[][] = plan.program.ops.map(() => []);
  for (let sm = 0; sm < plan.machine.sms; sm++) {
    const end = plan.order.start[sm + 1] ?? 0;
    for (let slot = plan.order.start[sm] ?? 0; slot < end; slot++) {
      slotSm[slot] = sm;
      opSlots[plan.tasks.op[slotTask[slot] ?? -1] ?? -1]?.push(slot);
    }
  }
  const resolve = resolver(ops, plan.program.values.length);
  const taskOf = (slot: number): { model: OpModel; regions: TaskRegions } => {
    const task = slotTask[slot] ?? -1;
    const model = ops[plan.tasks.op[task] ?? -1];
    if (model === undefined) throw new RangeError(`slot ${slot} runs no op`);
    const [lo, hi] = [plan.tasks.tileLo[task] ?? 0, plan.tasks.tileHi[task] ?? 0];
    return { model, regions: model.regions(lo, hi) };
  };
  const locate = (value: number, lo: number, hi: number): Access => {
    const { base, column } = resolve(value);
    return { value: base, lo: lo + column, hi: hi + column };
  };
  const reads = remember(slotTask.length, (slot) => {
    const { model, regions } = taskOf(slot);
    return regions.reads.map((r) => locate(model.op.inputs[r.index] ?? -1, r.lo, r.hi));
  });
  const writes = remember(slotTask.length, (slot) => {
    const { model, regions } = taskOf(slot);
    return regions.writes.map((r) => locate(model.op.outputs[r.index] ?? -1, r.lo, r.hi));
  });
  return {
    plan,
    ops,
    slots: slotTask.length,
    slotSm,
    slotTask,
    opSlots,
    resolve,
    reads,
    writes,
    ...pollsOf(plan, slotTask.length, reads, writes),
    states: remember(slotTask.length, (slot) => {
      const { model, regions } = taskOf(slot);
      return regions.states.map((r) => ({
        state: model.op.states[r.state] ?? -1,
        rows: r.rows,
        write: r.access === "write",
        lo: r.lo,
        hi: r.hi,
      }));
    }),
  };
}

/** Who writes what is polled, found once per value. */
function pollsOf(
  plan: Plan,
  slots: number,
  reads: Model["reads"],
  writes: Model["writes"],
): Pick<Model, "isFlagged" | "polled"> {
  const flagged = new Set(plan.flags.value);
  const writers = new Map<number, (Access & { readonly slot: number })[]>();
  for (let slot = 0; flagged.size > 0 && slot < slots; slot++) {
    for (const access of writes(slot)) {
      if (!flagged.has(access.value)) continue;
      const list = writers.get(access.value) ?? [];
      list.push({ ...access, slot });
      writers.set(access.value, list);
    }
  }
  // Nearly all tasks of an op poll the same rows: one list stands for all of them.
  const lists = new Map<string, ReturnType<Model["polled"]>>();
  const listOf = (polled: readonly Access[]): ReturnType<Model["polled"]> => {
    const key = polled.map(({ value, lo, hi }) => `${value} ${lo} ${hi}`).join();
    const known = lists.get(key);
    if (known !== undefined) return known;
    const found: Poll[] = [];
    for (const { value, lo, hi } of polled) {
      for (const write of writers.get(value) ?? []) {
        if (write.lo < hi && lo < write.hi) found.push({ value, writer: write.slot });
      }
    }
    lists.set(key, found);
    return found;
  };
  return {
    isFlagged: (value) => flagged.has(value),
    polled: remember(slots, (slot) => listOf(reads(slot).filter(({ value }) => flagged.has(value)))),
  };
}

/** Every law asks the same of each slot. */
function remember<T>(count: number, ask: (slot: number) => T): (slot: number) => T {
  const known: (T | undefined)[] = Array.from({ length: count });
  return (slot) => (known[slot] ??= ask(slot));
}

function modelOps(plan: Plan, table: ScheduleTable): readonly OpModel[] {
  const known = new Map<string, Omit<OpModel, "op">>();
  const { values, limits } = plan.program;
  return plan.program.ops.map((op, index) => {
    const types = (ids: readonly number[]): OpInstance["inputs"] =>
      ids.map((id) => {
        const value = values[id];
        if (value === undefined) throw new RangeError(`${op.kind}: value ${id} does not exist`);
        return value.type;
      });
    const [inputs, outputs] = [types(op.inputs), types(op.outputs)];
    const layout = plan.layouts[index] ?? null;
    const folds = layout?.folds ?? 1;
    const pairs =
      layout !== null && layout.tilesPerGroup > 1 && layout.chunksPerSlice < layout.chunksPerTile;
    const key = JSON.stringify([op.kind, op.attrs, inputs, outputs, folds, pairs]);
    let model = known.get(key);
    if (model === undefined) {
      const schedule = table.get(op.kind) as OpSchedule<unknown> | undefined;
      if (schedule === undefined) throw new RangeError(`${op.kind}: not in the op table`);
      const attrs = schedule.semantics.parseAttrs(op.attrs);
      const { maxTokens } = limits;
      model = modelOp({ kind: op.kind, attrs, inputs, outputs, maxTokens, folds, pairs }, schedule);
      known.set(key, model);
    }
    return { op, ...model };
  });
}

function modelOp(instance: OpInstance, schedule: OpSchedule<unknown>): Omit<OpModel, "op"> {
  const tiles = schedule.tiling.tiles(instance);
  const asked = new Map<string, TaskRegions>();
  const view = tiles === 0 ? askView(instance, schedule) : null;
  const regions = (lo: number, hi: number): TaskRegions => {
    const key = `${lo} ${hi}`;
    const known = asked.get(key);
    if (known !== undefined) return known;
    const found = schedule.tiling.regions(instance, lo, hi);
    asked.set(key, found);
    return found;
  };
  return { schedule, instance, tiles, view, regions };
}

function resolver(ops: readonly OpModel[], values: number): Model["resolve"] {
  const base = Int32Array.from({ length: values }, (_, i) => i);
  const column = new Int32Array(values);
  for (const { op, view } of ops) {
    const [input = -1, output = -1] = [op.inputs[0], op.outputs[0]];
    if (view === null) continue;
    base[output] = base[input] ?? input;
    column[output] = (column[input] ?? 0) + view.column;
  }
  return (value) => ({ base: base[value] ?? value, column: column[value] ?? 0 });
}
