/**
 * @file Runs a plan's waits and signals for a few steps, with vector clocks. Pure.
 *
 * Counters only grow, so running an SM never takes away another's chance to run: if one order of
 * running gets through, all do, and if one is stuck, all get stuck at the same place. A clock says,
 * per SM, how many of its slots (counted over steps) are done for sure.
 */
import type { Plan } from "../plan.ts";
import type { Model } from "./model.ts";

/**
 * Steps that are unrolled. Every edge stays in its step or leads to the next, and from step 1 on
 * all steps are alike, so the first two show every kind of pair; step 0 has the fewest edges.
 */
export const unrolledSteps = 2;

/** Where an SM was stuck. */
export interface Stuck {
  readonly sm: number;
  readonly slot: number;
  readonly step: number;
  readonly event: number;
  readonly expected: number;
  readonly seen: number;
}

export interface Execution {
  /** Slots in an order that respects everything, as step * slots + slot. */
  readonly timeline: Float64Array;
  readonly executed: number;
  readonly stuck: readonly Stuck[];
  /** (event, slot, step) whose trigger could come before an older epoch was complete. */
  readonly mixed: readonly { event: number; slot: number; step: number }[];
}

/** The clock is borrowed: copy what is to be kept. */
export type OnStart = (slot: number, step: number, clock: Int32Array) => void;

export interface Watch {
  /** A slot starts, its waits done. */
  readonly onStart: OnStart;
  /** An SM enters a step: the leading cross-step waits of its first slot are done, no others. */
  readonly onEnter?: OnStart;
}

interface Counter {
  seen: number;
  /** Smallest count that a blocked SM needs. */
  needed: number;
  readonly blocked: { sm: number; target: number }[];
  /** By step: join of the clocks of its triggers. */
  readonly clocks: (Int32Array | undefined)[];
  /** By SM: slots done once all triggers of step 0 are. */
  readonly last: Int32Array;
  readonly triggers: number;
}

interface Cursor {
  slot: number;
  step: number;
  wait: number;
  entered: number;
}

export function execute(model: Model, { onStart, onEnter }: Watch): Execution {
  const { plan, slotTask } = model;
  const { sms } = plan.machine;
  const { order, waits, signals, events } = plan;
  const counters = makeCounters(model);
  const clocks = Array.from({ length: sms }, () => new Int32Array(sms));
  const cursors: Cursor[] = Array.from({ length: sms }, (_, sm) => ({
    slot: order.start[sm] ?? 0, step: 0, wait: 0, entered: -1,
  }));
  const timeline = new Float64Array(model.slots * unrolledSteps);
  const mixed: { event: number; slot: number; step: number }[] = [];
  const runnable: number[] = [];
  let executed = 0;

  /** True when the wait is over; joins what it guarantees. */
  const pass = (sm: number, event: number, step: number): boolean => {
    const counter = counters[event];
    if (counter === undefined) return true;
    const epoch = step + (events.crossStep[event] === 1 ? 0 : 1);
    const threshold = events.threshold[event] ?? 0;
    if (counter.seen < threshold * epoch) {
      counter.blocked.push({ sm, target: threshold * epoch });
      counter.needed = Math.min(counter.needed, threshold * epoch);
      return false;
    }
    // With fewer than all triggers awaited, any of them may be missing: nothing is guaranteed.
    const from = epoch > 0 && threshold >= counter.triggers ? counter.clocks[epoch - 1] : undefined;
    if (from !== undefined) join(clocks[sm] as Int32Array, from);
    return true;
  };

  const trigger = (event: number, slot: number, step: number, clock: Int32Array): void => {
    const counter = counters[event];
    if (counter === undefined) return;
    if (step > 0 && !reaches(clock, counter.last, order.start, step - 1)) {
      mixed.push({ event, slot, step });
    }
    const mine = (counter.clocks[step] ??= new Int32Array(sms));
    join(mine, clock);
    counter.seen++;
    if (counter.seen < counter.needed) return;
    counter.needed = Infinity;
    for (const waiter of counter.blocked.splice(0)) {
      if (waiter.target <= counter.seen) runnable.push(waiter.sm);
      else {
        counter.blocked.push(waiter);
        counter.needed = Math.min(counter.needed, waiter.target);
      }
    }
  };

  /** Runs one SM until it blocks or has done all steps. */
  const advance = (sm: number): void => {
    const at = cursors[sm] as Cursor;
    const clock = clocks[sm] as Int32Array;
    const from = order.start[sm] ?? 0;
    const end = order.start[sm + 1] ?? 0;
    while (at.step < unrolledSteps && from < end) {
      const task = slotTask[at.slot] ?? -1;
      const waitStart = waits.start[task] ?? 0;
      const waitEnd = waits.start[task + 1] ?? 0;
      const enter = (): void => {
        if (at.entered === at.step) return;
        at.entered = at.step;
        onEnter?.(at.slot, at.step, clock);
      };
      while (waitStart + at.wait < waitEnd) {
        const event = waits.items[waitStart + at.wait] ?? -1;
        if (events.crossStep[event] === 0) enter();
        if (!pass(sm, event, at.step)) return;
        at.wait++;
      }
      enter();
      onStart(at.slot, at.step, clock);
      timeline[executed++] = at.step * model.slots + at.slot;
      clock[sm] = at.step * (end - from) + (at.slot - from) + 1;
      for (let i = signals.start[task] ?? 0; i < (signals.start[task + 1] ?? 0); i++) {
        trigger(signals.items[i] ?? -1, at.slot, at.step, clock);
      }
      at.wait = 0;
      at.slot++;
      if (at.slot === end) {
        at.slot = from;
        at.step++;
      }
    }
  };
  for (let sm = sms - 1; sm >= 0; sm--) runnable.push(sm);
  for (let sm = runnable.pop(); sm !== undefined; sm = runnable.pop()) advance(sm);
  return { timeline, executed, stuck: findStuck(plan, cursors, counters), mixed };
}

function makeCounters(model: Model): readonly Counter[] {
  const { plan, slotTask, slotSm } = model;
  const { sms } = plan.machine;
  const triggers = new Int32Array(plan.events.count);
  const last = Array.from({ length: plan.events.count }, () => new Int32Array(sms));
  for (let slot = 0; slot < model.slots; slot++) {
    const task = slotTask[slot] ?? -1;
    const sm = slotSm[slot] ?? 0;
    const place = slot - (plan.order.start[sm] ?? 0) + 1;
    for (let i = plan.signals.start[task] ?? 0; i < (plan.signals.start[task + 1] ?? 0); i++) {
      const event = plan.signals.items[i] ?? -1;
      triggers[event] = (triggers[event] ?? 0) + 1;
      const list = last[event];
      if (list !== undefined) list[sm] = Math.max(list[sm] ?? 0, place);
    }
  }
  return last.map((list, event) => ({
    seen: 0, needed: Infinity, blocked: [], clocks: [], last: list, triggers: triggers[event] ?? 0,
  }));
}

function findStuck(
  plan: Plan,
  cursors: readonly Cursor[],
  counters: readonly Counter[],
): readonly Stuck[] {
  const stuck: Stuck[] = [];
  cursors.forEach((at, sm) => {
    const empty = plan.order.start[sm] === plan.order.start[sm + 1];
    if (at.step >= unrolledSteps || empty) return;
    const task = plan.order.items[at.slot] ?? -1;
    const event = plan.waits.items[(plan.waits.start[task] ?? 0) + at.wait] ?? -1;
    const epoch = at.step + (plan.events.crossStep[event] === 1 ? 0 : 1);
    stuck.push({
      sm, slot: at.slot, step: at.step, event,
      expected: (plan.events.threshold[event] ?? 0) * epoch,
      seen: counters[event]?.seen ?? 0,
    });
  });
  return stuck;
}

function join(into: Int32Array, from: Int32Array): void {
  for (let sm = 0; sm < into.length; sm++) {
    const other = from[sm] as number;
    if (other > (into[sm] as number)) into[sm] = other;
  }
}

/**
 * Whether a clock has, on every SM, at least `places[sm]` slots of step `step` behind it.
 * `start`: where each SM's slots begin, for the length of its step.
 */
export function reaches(
  clock: Int32Array,
  places: Int32Array,
  start: Int32Array,
  step: number,
): boolean {
  for (let sm = 0; sm < clock.length; sm++) {
    const place = places[sm] as number;
    if (place === 0) continue;
    const length = (start[sm + 1] as number) - (start[sm] as number);
    if ((clock[sm] as number) < step * length + place) return false;
  }
  return true;
}
