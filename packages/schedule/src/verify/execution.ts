/**
 * @file Runs a plan's waits and signals for a few steps, with vector clocks. Pure.
 *
 * Counters only grow, so running an SM never takes away another's chance to run: if one order of
 * running gets through, all do, and if one is stuck, all get stuck at the same place. A clock says,
 * per SM, how many of its slots (counted over steps) are done for sure. Polls of flagged words block
 * as waits do, but order nothing beyond their own bytes: clocks learn nothing from them.
 */
import type { Plan } from "../plan.ts";
import type { Model } from "./model.ts";
import { findTwins } from "./twins.ts";

/**
 * Steps that are unrolled. Every edge stays in its step or leads to the next, and from step 1 on
 * all steps are alike, so the first two show every kind of pair; step 0 has the fewest edges.
 */
export const unrolledSteps = 2;

/** A step of one token polls flagged values and leaves many-only events alone. */
export type StepKind = "one" | "many";

/** What the steps may be, one after another: all successions where the kinds differ. */
export function successions(plan: Plan): readonly (readonly StepKind[])[] {
  if (plan.flags.value.length === 0 && !plan.events.manyOnly.includes(1)) return [["many", "many"]];
  return [["one", "one"], ["one", "many"], ["many", "one"], ["many", "many"]];
}

/** Where an SM was stuck. */
export interface Stuck {
  readonly sm: number;
  readonly slot: number;
  readonly step: number;
  /** -1 at a poll. */
  readonly event: number;
  /** At a poll: the flagged value, and the slot that has not written its part. */
  readonly poll: { readonly value: number; readonly writer: number } | null;
  readonly expected: number;
  readonly seen: number;
}

export interface Execution {
  /** What the unrolled steps were. */
  readonly kinds: readonly StepKind[];
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
  /** By epoch (steps that it counts): join of the clocks of its triggers. */
  readonly clocks: (Int32Array | undefined)[];
  /** By SM: slots done once all triggers of step 0 are. */
  readonly last: Int32Array;
  readonly triggers: number;
  /** Another event has the very same triggers, and keeps the clocks of both. */
  readonly isTwin: boolean;
}

interface Cursor {
  slot: number;
  step: number;
  wait: number;
  /** Writers of polled words seen done. */
  polled: number;
  entered: number;
}

export function execute(
  model: Model,
  watch: Watch,
  kinds: readonly StepKind[] = ["many", "many"],
): Execution {
  return new Unrolling(model, watch, kinds).run();
}

class Unrolling {
  readonly #model: Model;
  readonly #watch: Watch;
  readonly #counters: readonly Counter[];
  readonly #clocks: readonly Int32Array[];
  readonly #cursors: readonly Cursor[];
  readonly #timeline: Float64Array;
  readonly #mixed: { event: number; slot: number; step: number }[] = [];
  readonly #runnable: number[] = [];
  readonly #kinds: readonly StepKind[];
  /** By slot: steps done. */
  readonly #done: Uint8Array;
  /** By step, of what slots poll, which many share: the writers seen done. */
  readonly #seen: readonly Map<ReturnType<Model["polled"]>, number>[];
  /** By step: steps of many tokens before it. */
  readonly #manyBefore: readonly number[];
  /** By slot: SMs that poll for what it writes. */
  readonly #pollers = new Map<number, number[]>();
  #executed = 0;

  constructor(model: Model, watch: Watch, kinds: readonly StepKind[]) {
    const { machine, order } = model.plan;
    this.#model = model;
    this.#watch = watch;
    this.#kinds = kinds;
    this.#done = new Uint8Array(model.slots);
    this.#seen = kinds.map(() => new Map());
    this.#manyBefore = kinds.map((_, step) => kinds.slice(0, step).filter((k) => k === "many").length);
    this.#counters = makeCounters(model);
    this.#clocks = Array.from({ length: machine.sms }, () => new Int32Array(machine.sms));
    this.#cursors = Array.from({ length: machine.sms }, (_, sm) => ({
      slot: order.start[sm] ?? 0, step: 0, wait: 0, polled: 0, entered: -1,
    }));
    this.#timeline = new Float64Array(model.slots * unrolledSteps);
  }

  run(): Execution {
    const { plan } = this.#model;
    for (let sm = plan.machine.sms - 1; sm >= 0; sm--) this.#runnable.push(sm);
    for (let sm = this.#runnable.pop(); sm !== undefined; sm = this.#runnable.pop()) {
      this.#advance(sm);
    }
    return {
      kinds: this.#kinds,
      timeline: this.#timeline,
      executed: this.#executed,
      stuck: this.#findStuck(),
      mixed: this.#mixed,
    };
  }

  /** Runs one SM until it blocks or has done all steps. */
  #advance(sm: number): void {
    const { plan, slots, slotTask } = this.#model;
    const at = this.#cursors[sm] as Cursor;
    const clock = this.#clocks[sm] as Int32Array;
    const [from, end] = [plan.order.start[sm] ?? 0, plan.order.start[sm + 1] ?? 0];
    const { signals } = plan;
    while (at.step < unrolledSteps && from < end) {
      const task = slotTask[at.slot] ?? -1;
      if (!this.#passAll(sm, task, at, clock) || !this.#passPolls(sm, at)) return;
      this.#watch.onStart(at.slot, at.step, clock);
      this.#timeline[this.#executed++] = at.step * slots + at.slot;
      clock[sm] = at.step * (end - from) + (at.slot - from) + 1;
      for (let i = signals.start[task] ?? 0; i < (signals.start[task + 1] ?? 0); i++) {
        this.#trigger(signals.items[i] ?? -1, at, clock);
      }
      this.#done[at.slot] = at.step + 1;
      this.#wakePollers(at.slot);
      at.wait = 0;
      at.polled = 0;
      at.slot++;
      if (at.slot === end) {
        at.slot = from;
        at.step++;
      }
    }
  }

  /** Goes through a task's waits; false where one blocks. */
  #passAll(sm: number, task: number, at: Cursor, clock: Int32Array): boolean {
    const { waits, events } = this.#model.plan;
    const enter = (): void => {
      if (at.entered === at.step) return;
      at.entered = at.step;
      this.#watch.onEnter?.(at.slot, at.step, clock);
    };
    const end = waits.start[task + 1] ?? 0;
    for (let i = (waits.start[task] ?? 0) + at.wait; i < end; i++) {
      const event = waits.items[i] ?? -1;
      if (events.crossStep[event] === 0) enter();
      if (!this.#isIdle(event, at.step) && !this.#pass(sm, event, at.step, clock)) return false;
      at.wait++;
    }
    enter();
    return true;
  }

  /** Goes through what a one-token step polls; false where a writer is still to come. */
  #passPolls(sm: number, at: Cursor): boolean {
    if (this.#kinds[at.step] !== "one") return true;
    const writers = this.#model.polled(at.slot);
    if (writers.length === 0) return true;
    const seen = this.#seen[at.step];
    at.polled = seen?.get(writers) ?? 0;
    while (at.polled < writers.length) {
      const writer = writers[at.polled]?.writer ?? -1;
      if ((this.#done[writer] ?? 0) <= at.step) {
        const pollers = this.#pollers.get(writer);
        if (pollers === undefined) this.#pollers.set(writer, [sm]);
        else pollers.push(sm);
        break;
      }
      at.polled++;
    }
    seen?.set(writers, at.polled);
    return at.polled === writers.length;
  }

  #wakePollers(slot: number): void {
    const pollers = this.#pollers.get(slot);
    if (pollers === undefined) return;
    this.#runnable.push(...pollers);
    this.#pollers.delete(slot);
  }

  /** A many-only event in a step of one token. */
  #isIdle(event: number, step: number): boolean {
    return this.#model.plan.events.manyOnly[event] === 1 && this.#kinds[step] === "one";
  }

  /** Steps before this one that an event counts. */
  #counted(event: number, step: number): number {
    if (this.#model.plan.events.manyOnly[event] !== 1) return step;
    return this.#manyBefore[step] ?? 0;
  }

  /** True when the wait is over; joins what it guarantees. */
  #pass(sm: number, event: number, step: number, clock: Int32Array): boolean {
    const { events } = this.#model.plan;
    const counter = this.#counters[event];
    if (counter === undefined) return true;
    const epoch = this.#counted(event, step) + (events.crossStep[event] === 1 ? 0 : 1);
    const threshold = events.threshold[event] ?? 0;
    if (counter.seen < threshold * epoch) {
      counter.blocked.push({ sm, target: threshold * epoch });
      counter.needed = Math.min(counter.needed, threshold * epoch);
      return false;
    }
    // With fewer than all triggers awaited, any of them may be missing: nothing is guaranteed.
    const isFull = epoch > 0 && threshold >= counter.triggers;
    const known = isFull ? counter.clocks[epoch - 1] : undefined;
    if (known !== undefined) join(clock, known);
    return true;
  }

  #trigger(event: number, { slot, step }: Cursor, clock: Int32Array): void {
    const counter = this.#counters[event];
    if (counter === undefined || this.#isIdle(event, step)) return;
    const epoch = this.#counted(event, step);
    if (!counter.isTwin) {
      if (epoch > 0 && !reaches(clock, counter.last, this.#model.plan.order.start, step - 1)) {
        this.#mixed.push({ event, slot, step });
      }
      join((counter.clocks[epoch] ??= new Int32Array(clock.length)), clock);
    }
    counter.seen++;
    if (counter.seen < counter.needed) return;
    counter.needed = Infinity;
    for (const waiter of counter.blocked.splice(0)) {
      if (waiter.target <= counter.seen) this.#runnable.push(waiter.sm);
      else {
        counter.blocked.push(waiter);
        counter.needed = Math.min(counter.needed, waiter.target);
      }
    }
  }

  #findStuck(): readonly Stuck[] {
    const { plan } = this.#model;
    return this.#cursors.flatMap((at, sm) => {
      const empty = plan.order.start[sm] === plan.order.start[sm + 1];
      if (at.step >= unrolledSteps || empty) return [];
      const { slot, step } = at;
      const task = plan.order.items[slot] ?? -1;
      const place = (plan.waits.start[task] ?? 0) + at.wait;
      if (place >= (plan.waits.start[task + 1] ?? 0)) {
        const poll = this.#model.polled(slot)[at.polled] ?? null;
        return [{ sm, slot, step, event: -1, poll, expected: 1, seen: 0 }];
      }
      const event = plan.waits.items[place] ?? -1;
      const epoch = this.#counted(event, step) + (plan.events.crossStep[event] === 1 ? 0 : 1);
      const expected = (plan.events.threshold[event] ?? 0) * epoch;
      return [{ sm, slot, step, event, poll: null, expected, seen: this.#counters[event]?.seen ?? 0 }];
    });
  }
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
  const twins = findTwins(model, triggers);
  const clocks = last.map((): (Int32Array | undefined)[] => []);
  return last.map((list, event) => ({
    seen: 0, needed: Infinity, blocked: [], clocks: clocks[twins[event] ?? event] ?? [], last: list,
    triggers: triggers[event] ?? 0, isTwin: twins[event] !== event,
  }));
}

function join(into: Int32Array, from: Int32Array): void {
  for (let sm = 0; sm < into.length; sm++) {
    const other = from[sm] as number;
    if (other > (into[sm] as number)) into[sm] = other;
  }
}

/** A rank's tasks are on its own SMs, a few of all. */
const boundsOf = new WeakMap<Int32Array, { readonly from: number; readonly to: number }>();

/**
 * Whether a clock has, on every SM, at least `places[sm]` slots of step `step` behind it.
 * `start`: where each SM's slots begin, for the length of its step. `places` must not change after
 * the first call: where its first and last entries are is remembered.
 */
export function reaches(
  clock: Int32Array,
  places: Int32Array,
  start: Int32Array,
  step: number,
): boolean {
  let bounds = boundsOf.get(places);
  if (bounds === undefined) {
    const from = places.findIndex((place) => place !== 0);
    bounds = { from: from < 0 ? places.length : from, to: places.findLastIndex((x) => x !== 0) + 1 };
    boundsOf.set(places, bounds);
  }
  for (let sm = bounds.from; sm < bounds.to; sm++) {
    const place = places[sm] as number;
    if (place === 0) continue;
    const length = (start[sm + 1] as number) - (start[sm] as number);
    if ((clock[sm] as number) < step * length + place) return false;
  }
  return true;
}
