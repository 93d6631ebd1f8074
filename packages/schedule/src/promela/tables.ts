/** @file A plan as the tables that the Promela model of plans reads. Pure. */
import type { ScheduleTable } from "../contracts.ts";
import { PlanError } from "../errors.ts";
import { blockBytes } from "../packing.ts";
import type { IdLists, Plan } from "../plan.ts";
import { cutCells, isStore } from "./cells.ts";
import type { Cell } from "./cells.ts";
import { touchKinds } from "./operands.ts";
import type { Poll } from "./operands.ts";

/** In the order of the numbers in the model's text. */
const cellKinds = ["scratch", "kv", "descriptor", "stream"] as const;

/** What the model's text is compiled for; a plan with less fits too. */
export interface ModelSizes {
  readonly sms: number;
  readonly events: number;
  /** Stores to one cell in all steps, and one for what was there before. */
  readonly history: number;
  /** Tasks that store flagged words, and one that never does. */
  readonly writers: number;
}

export interface PlanTables {
  readonly sizes: ModelSizes;
  readonly steps: number;
  /** By name of the model's array. */
  readonly arrays: { readonly [name: string]: readonly number[] };
  /** For comments: what each watched cell is. */
  readonly cellNames: readonly string[];
}

/** Small plans only: the model's counts are bytes, its table entries 16 bits. */
export const modelLimits = { count: 255, entry: 32767, sms: 8 } as const;

/** Throws `PlanError` where a plan is too large for the model, or not of this table. */
export function planTables(plan: Plan, table: ScheduleTable, steps: number): PlanTables {
  if (plan.machine.sms > modelLimits.sms) {
    throw new PlanError(
      `the Promela model is for small plans: expected at most ${modelLimits.sms} SMs, got ` +
        `${plan.machine.sms}; plan the model for fewer (--sms 3)`,
    );
  }
  const { cells, polls } = cutCells(plan, table);
  const streams = streamTables(plan);
  const slots = plan.order.items.length;
  const history = 1 + steps * Math.max(1, ...cells.map(mostStores));
  const waits = bySlot(plan, plan.waits);
  const signals = bySlot(plan, plan.signals);
  const watched = [
    ...cells.map(({ kind, part }) => [cellKinds.indexOf(kind), part]),
    ...plan.streams.map((_, sm) => [cellKinds.indexOf("stream"), sm]),
  ];
  const flags = pollTables(polls, slots);
  const hasKinds = polls.length > 0 || plan.events.manyOnly.includes(1);
  const arrays = {
    counts: [
      plan.machine.sms, slots, watched.length, hasEffect(cells) ? 1 : 0, hasKinds ? 1 : 0,
      countsAreRight(plan, signals.items) ? 1 : 0,
    ],
    orderStart: [...plan.order.start],
    openEnd: openEnds(plan, waits),
    waitStart: waits.start, waitEvent: waits.items,
    signalStart: signals.start, signalEvent: signals.items,
    threshold: [...plan.events.threshold],
    crossStep: [...plan.events.crossStep],
    manyOnly: [...plan.events.manyOnly],
    cellKind: watched.map(([kind = 0]) => kind),
    cellPart: watched.map(([, part = 0]) => part),
    ...touchTables(cells, slots),
    pollStart: flags.pollStart, pollWriter: flags.pollWriter, writerOf: flags.writerOf,
    ...streams,
  };
  checkSizes(plan, arrays, signals.items, steps);
  const { sms } = plan.machine;
  return {
    sizes: { sms, events: Math.max(1, plan.events.count), history, writers: flags.writers },
    steps,
    arrays,
    cellNames: [...cells.map(({ name }) => name), ...plan.streams.map((_, i) => `stream ${i}`)],
  };
}

const mostStores = ({ touches }: Cell): number => touches.filter(isStore).length;

const hasEffect = (cells: readonly Cell[]): boolean =>
  cells.some(({ kind }) => kind === "descriptor");

interface Lists {
  readonly start: readonly number[];
  readonly items: readonly number[];
}

/** A task's list, for each place in an SM's order that runs it. */
function bySlot(plan: Plan, { start, items }: IdLists): Lists {
  const ends = [0];
  const all: number[] = [];
  for (const task of plan.order.items) {
    all.push(...items.subarray(start[task], start[task + 1]));
    ends.push(all.length);
  }
  return { start: ends, items: all };
}

/** Per SM: the end, in its first slot's waits, of the leading ones that cross steps. */
function openEnds({ order, events, machine }: Plan, waits: Lists): readonly number[] {
  return Array.from({ length: machine.sms }, (_, sm) => {
    const first = order.start[sm] ?? 0;
    let at = waits.start[first] ?? 0;
    if (first === order.start[sm + 1]) return at;
    while (at < (waits.start[first + 1] ?? 0) && events.crossStep[waits.items[at] ?? -1] === 1) at++;
    return at;
  });
}

function touchTables(cells: readonly Cell[], slots: number) {
  const touchStart: number[] = [0];
  const all = cells.flatMap(({ touches }) => {
    for (let slot = 0; slot < slots; slot++) {
      const own = touches.filter((touch) => touch.slot === slot).length;
      touchStart.push((touchStart[touchStart.length - 1] ?? 0) + own);
    }
    return touches;
  });
  return {
    touchStart,
    touchKind: all.map(({ kind }) => touchKinds.indexOf(kind)),
    touchValue: all.map(({ value }) => value),
  };
}

/** Writers are numbered from 1; number 0 never stores, and is awaited where nobody does. */
function pollTables(polls: readonly Poll[], slots: number) {
  const numbers = new Map<number, number>();
  const numberOf = (slot: number): number => {
    const number = slot < 0 ? 0 : (numbers.get(slot) ?? numbers.size + 1);
    if (slot >= 0) numbers.set(slot, number);
    return number;
  };
  const pollStart = [0];
  const pollWriter: number[] = [];
  for (let slot = 0; slot < slots; slot++) {
    const writers = polls.filter((poll) => poll.slot === slot).map(({ writer }) => numberOf(writer));
    pollWriter.push(...new Set(writers));
    pollStart.push(pollWriter.length);
  }
  const writerOf = Array.from({ length: slots }, (_, slot) => numbers.get(slot) ?? 0);
  return { pollStart, pollWriter, writerOf, writers: numbers.size + 1 };
}

/**
 * Per SM, the chunks in the order of its packed stream and in the order of consumption, as numbers;
 * a chunk that does not fit a stage is -1 and never the one expected.
 */
function streamTables(plan: Plan) {
  const known = new Map<string, number>();
  const idOf = (task: number, chunk: number): number => {
    const key = `${task} ${chunk}`;
    const id = known.get(key) ?? known.size;
    known.set(key, id);
    return id;
  };
  const [imageStart, takeStart] = [[0], [0]];
  const [image, take]: [number[], number[]] = [[], []];
  plan.streams.forEach((segments, sm) => {
    for (const { task, chunks, chunkBytes } of segments) {
      for (let i = 0; i < chunks; i++) {
        image.push(chunkBytes > plan.ring.stageBytes ? -1 : idOf(task, i));
      }
    }
    for (const task of plan.order.items.subarray(plan.order.start[sm], plan.order.start[sm + 1])) {
      const layout = plan.layouts[plan.tasks.op[task] ?? -1] ?? null;
      if (layout === null) continue;
      const tiles = (plan.tasks.tileHi[task] ?? 0) - (plan.tasks.tileLo[task] ?? 0);
      const isWhole = layout.blocksPerChunk * blockBytes <= plan.ring.stageBytes;
      for (let i = 0; i < tiles * layout.chunksPerTile; i++) take.push(isWhole ? idOf(task, i) : -2);
    }
    imageStart.push(image.length);
    takeStart.push(take.length);
  });
  return { imageStart, image, takeStart, take };
}

function triggersOf(signals: readonly number[]): ReadonlyMap<number, number> {
  const triggers = new Map<number, number>();
  for (const event of signals) triggers.set(event, (triggers.get(event) ?? 0) + 1);
  return triggers;
}

/** Whether every wait is for all triggers: then signals and waits may be run together. */
function countsAreRight({ events }: Plan, signals: readonly number[]): boolean {
  const triggers = triggersOf(signals);
  return events.threshold.every((threshold, event) => threshold === (triggers.get(event) ?? 0));
}

function checkSizes(
  plan: Plan,
  arrays: PlanTables["arrays"],
  signals: readonly number[],
  steps: number,
): void {
  const highest = Math.max(0, ...triggersOf(signals).values(), ...plan.events.threshold);
  if (highest * (steps + 1) > modelLimits.count) {
    throw new PlanError(
      `the Promela model counts to ${modelLimits.count}: an event of ${highest} triggers a step ` +
        `is too much for ${steps} steps; plan the model for fewer SMs`,
    );
  }
  for (const [name, entries] of Object.entries(arrays)) {
    if (entries.length > modelLimits.entry || entries.some((x) => x > modelLimits.entry)) {
      throw new PlanError(
        `the Promela model's table ${name} is too large (${entries.length} entries, 16 bits ` +
          `each); take a model of fewer layers`,
      );
    }
  }
}
