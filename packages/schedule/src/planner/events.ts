/**
 * @file Fuses dependencies into one counter per producer op, drops waits that others imply, and
 * closes each step with a gate that the next one opens on. Pure.
 *
 * One event per op is the whole policy: decoding hands over all-to-all, so a consumer needs nearly
 * every producer anyway, and one counter is one poll.
 */
import type { EventTable, IdLists } from "../plan.ts";
import type { Assigned } from "./assign.ts";

export interface Events {
  readonly events: EventTable;
  readonly waits: IdLists;
  readonly signals: IdLists;
  /** By op: bit set of the ops that are complete before any of its tasks starts. */
  readonly doneBefore: readonly Uint32Array[];
  /** The same for steps of one token. */
  readonly doneBeforeOfOne: readonly Uint32Array[];
  /** Consumer-producer pairs of the step gate, before fusion. */
  readonly gatePairs: number;
}

/**
 * `needs`: by task, the ops it needs; `eventNeeds`: those that it needs events for in steps of one
 * token too, the very same list where nothing is flagged. Waits beyond these are many-only, with
 * events of their own. `effects`: by op, whether it opens the next step.
 */
export function planEvents(
  needs: readonly (readonly number[])[],
  eventNeeds: readonly (readonly number[])[],
  assigned: Assigned,
  execution: readonly number[],
  effects: readonly boolean[],
  sms: number,
): Events {
  const all = reduceWaits(needs, assigned, execution, sms);
  const always = eventNeeds === needs ? all : reduceWaits(eventNeeds, assigned, execution, sms);
  const { waits } = always;
  const manyWaits = all.waits.map((ops, task) =>
    always === all ? [] : ops.filter((op) => waits[task]?.includes(op) !== true),
  );
  const gates = closeStep(waits, assigned, execution, effects, sms);
  const { tasks, order, opStart } = assigned;
  const opTasks = (op: number): number => (opStart[op + 1] ?? 0) - (opStart[op] ?? 0);
  const first: number[] = [];
  for (let sm = 0; sm < sms; sm++) {
    const task = order.items[order.start[sm] ?? 0];
    if ((order.start[sm] ?? 0) < (order.start[sm + 1] ?? 0) && task !== undefined) first.push(task);
  }
  const table = numberEvents(waits, manyWaits, gates, opTasks, opStart.length - 1);
  // Many-only events come last in every list: one look at the first tells whether there are others.
  const waitLists = waits.map((ops, task) => [
    ...ops.map((op) => table.within.get(op) ?? -1),
    ...(manyWaits[task] ?? []).map((op) => table.many.get(op) ?? -1),
  ]);
  const gateEvents = gates.map((op) => table.across.get(op) ?? -1);
  for (const task of first) waitLists[task] = [...gateEvents, ...(waitLists[task] ?? [])];
  const signalLists: number[][] = [];
  for (let task = 0; task < tasks.count; task++) {
    const op = tasks.op[task] ?? 0;
    const mine = [table.within.get(op), table.across.get(op), table.many.get(op)];
    signalLists.push(mine.filter((event) => event !== undefined));
  }
  return {
    events: table.events,
    waits: toIdLists(waitLists),
    signals: toIdLists(signalLists),
    doneBefore: all.doneBefore,
    doneBeforeOfOne: always.doneBefore,
    gatePairs: first.length * gates.reduce((sum, op) => sum + opTasks(op), 0),
  };
}

/**
 * Walks the step once. Each SM carries the set of ops it knows to be complete; waiting for an op
 * adds all that its tasks knew, and all ops whose tasks came before them on the same SMs. A wait
 * for something already known is dropped.
 */
function reduceWaits(
  needs: readonly (readonly number[])[],
  { tasks, opStart }: Assigned,
  execution: readonly number[],
  sms: number,
): { waits: number[][]; doneBefore: Uint32Array[] } {
  const ops = opStart.length - 1;
  const words = Math.ceil(ops / 32);
  const known = Array.from({ length: sms }, () => new Uint32Array(words));
  const knownAfter = Array.from({ length: ops }, () => new Uint32Array(words));
  const doneBefore = Array.from({ length: ops }, () => new Uint32Array(words));
  const rank = new Int32Array(ops);
  execution.forEach((op, i) => (rank[op] = i));
  const waits: number[][] = Array.from({ length: tasks.count }, () => []);
  const usedSms = Array.from({ length: ops }, () => new Uint32Array(Math.ceil(sms / 32)));
  const executed = new Uint32Array(words);
  for (const op of execution) {
    const after = knownAfter[op] as Uint32Array;
    const before = (doneBefore[op] as Uint32Array).fill(0xffffffff);
    const mySms = usedSms[op] as Uint32Array;
    const from = opStart[op] ?? 0;
    const to = opStart[op + 1] ?? 0;
    for (let task = from; task < to; task++) {
      const mine = known[tasks.sm[task] ?? 0] as Uint32Array;
      // Latest first: it most often implies the others.
      const latest = [...(needs[task] ?? [])].sort((a, b) => (rank[b] ?? 0) - (rank[a] ?? 0));
      for (const producer of latest) {
        if (hasBit(mine, producer)) continue;
        waits[task]?.push(producer);
        merge(mine, knownAfter[producer] as Uint32Array);
      }
      for (let w = 0; w < words; w++) before[w] = (before[w] ?? 0) & (mine[w] ?? 0);
      merge(after, mine);
      setBit(mySms, tasks.sm[task] ?? 0);
    }
    for (let w = 0; w < words; w++) {
      for (let rest = (executed[w] ?? 0) & ~(after[w] ?? 0); rest !== 0; rest &= rest - 1) {
        const other = w * 32 + 31 - Math.clz32(rest & -rest);
        if (contains(mySms, usedSms[other] as Uint32Array)) setBit(after, other);
      }
    }
    setBit(after, op);
    setBit(executed, op);
    if (to - from === 1) setBit(known[tasks.sm[from] ?? 0] as Uint32Array, op);
  }
  return { waits, doneBefore };
}

/**
 * Makes every task of a step happen before some gate op, adding waits to a later effect op where
 * one exists and more gates where none does. Returns the gates; the first task of every SM then
 * waits for them, so a step is over before the next begins.
 */
function closeStep(
  waits: number[][],
  { tasks, order, opStart }: Assigned,
  execution: readonly number[],
  effects: readonly boolean[],
  sms: number,
): number[] {
  const position = new Int32Array(tasks.count);
  order.items.forEach((task, i) => (position[task] = i));
  // Per SM: tasks up to this position are known to happen before a gate.
  const reach = new Int32Array(sms).fill(-1);
  const awaited = new Uint8Array(opStart.length);
  const gates: number[] = [];
  let effect = -1;
  for (let i = execution.length - 1; i >= 0; i--) {
    const op = execution[i] ?? 0;
    const from = opStart[op] ?? 0;
    const to = opStart[op + 1] ?? 0;
    if (effects[op] === true) {
      gates.push(op);
      awaited[op] = 1;
      effect = op;
    }
    const isLoose = (): boolean => {
      for (let task = from; task < to; task++) {
        if ((position[task] ?? 0) > (reach[tasks.sm[task] ?? 0] ?? -1)) return true;
      }
      return false;
    };
    if (awaited[op] === 0 && isLoose()) {
      if (effect >= 0) waits[opStart[effect] ?? 0]?.push(op);
      else gates.push(op);
      awaited[op] = 1;
    }
    for (let task = from; task < to; task++) {
      const sm = tasks.sm[task] ?? 0;
      if (awaited[op] === 1) reach[sm] = Math.max(reach[sm] ?? -1, position[task] ?? 0);
      for (const producer of waits[task] ?? []) awaited[producer] = 1;
    }
  }
  return gates.reverse();
}

interface NumberedEvents {
  readonly events: EventTable;
  readonly within: ReadonlyMap<number, number>;
  readonly across: ReadonlyMap<number, number>;
  readonly many: ReadonlyMap<number, number>;
}

function numberEvents(
  waits: readonly (readonly number[])[],
  manyWaits: readonly (readonly number[])[],
  gates: readonly number[],
  opTasks: (op: number) => number,
  ops: number,
): NumberedEvents {
  const awaited = new Set<number>(waits.flat());
  const awaitedByMany = new Set<number>(manyWaits.flat());
  const within = new Map<number, number>();
  const across = new Map<number, number>();
  const many = new Map<number, number>();
  const threshold: number[] = [];
  const add = (op: number, events: Map<number, number>): void => {
    events.set(op, threshold.length);
    threshold.push(opTasks(op));
  };
  for (let op = 0; op < ops; op++) {
    if (awaited.has(op)) add(op, within);
    if (gates.includes(op)) add(op, across);
    if (awaitedByMany.has(op)) add(op, many);
  }
  const count = threshold.length;
  const bitsOf = (events: Map<number, number>): Uint8Array => {
    const bits = new Uint8Array(count);
    for (const event of events.values()) bits[event] = 1;
    return bits;
  };
  return {
    within,
    across,
    many,
    events: {
      count,
      threshold: Int32Array.from(threshold),
      homeRank: new Int32Array(count),
      crossStep: bitsOf(across),
      manyOnly: bitsOf(many),
    },
  };
}

/** Lists by owner, packed. */
export function toIdLists(lists: readonly (readonly number[])[]): IdLists {
  const start = new Int32Array(lists.length + 1);
  lists.forEach((list, i) => (start[i + 1] = (start[i] ?? 0) + list.length));
  const items = new Int32Array(start[lists.length] ?? 0);
  lists.forEach((list, i) => items.set(list, start[i]));
  return { start, items };
}

export function hasBit(bits: Uint32Array, i: number): boolean {
  return (((bits[i >> 5] ?? 0) >>> (i & 31)) & 1) === 1;
}

function setBit(bits: Uint32Array, i: number): void {
  bits[i >> 5] = (bits[i >> 5] ?? 0) | (1 << (i & 31));
}

function contains(all: Uint32Array, some: Uint32Array): boolean {
  return some.every((word, w) => (word & ~(all[w] ?? 0)) === 0);
}

function merge(into: Uint32Array, from: Uint32Array): void {
  for (let w = 0; w < into.length; w++) into[w] = (into[w] ?? 0) | (from[w] ?? 0);
}
