/** @file When tasks run and what they wait for arrives in a simulation, step by step. */
import type { Plan } from "../plan.ts";
import type { Model } from "../verify/model.ts";
import { farness, type SimulationConstants } from "./constants.ts";

/** Times of one step's tasks, nanoseconds, by slot of `plan.order.items`. */
export interface TaskTimes {
  /** When the SM was free for the task. */
  readonly free: Float64Array;
  /** When what it waits for had reached it. */
  readonly ready: Float64Array;
  /** When its products could begin, had their weights arrived. */
  readonly begin: Float64Array;
  /** When its first weights were there; `begin` where it streams none. */
  readonly data: Float64Array;
  /** When its last weights were used. */
  readonly consumed: Float64Array;
  readonly end: Float64Array;
  /** How long its first warp waited for chunks after the first; not a time but a length. */
  readonly stalled: Float64Array;
}

/** Events and flagged values of all steps. A wait without an answer yet is remembered by SM. */
export interface Clock {
  /** When the waits of a slot are over in a step; null if that is not known yet. */
  waited(slot: number, step: number, sm: number): number | null;
  /** The task of a slot ended. */
  signal(slot: number, nanos: number, step: number): void;
  /** SMs whose last missing signal has come since the last call. */
  takeWoken(): readonly number[];
  /** Where a step's times go; only those of the reported step are kept. */
  times(step: number): TaskTimes;
  /** When the last task of each step ended. */
  readonly stepEnd: Float64Array;
}

/** What slots of a one-token step wait for and signal: counters, then words of flagged values. */
interface Arrivals {
  readonly threshold: Int32Array;
  readonly crossStep: Uint8Array;
  /** By slot. */
  readonly awaited: readonly (readonly number[])[];
  readonly signalled: readonly (readonly number[])[];
  /** From the last signal until a waiting SM may go on. */
  readonly latency: Float64Array;
}

/** Where accesses lie in a value. */
type Access = ReturnType<Model["reads"]>[number];

/** Words of flagged values that some task looks at, each with the slots that write any of them. */
function pieces(model: Model, slots: readonly number[]) {
  const flagged = new Set(model.plan.flags.value);
  const byValue = new Map<number, { readonly piece: number; readonly lo: number; readonly hi: number }[]>();
  let count = 0;
  const pieceOf = ({ value, lo, hi }: Access): number => {
    const known = byValue.get(value) ?? [];
    byValue.set(value, known);
    const found = known.find((one) => one.lo === lo && one.hi === hi)?.piece;
    if (found === undefined) known.push({ piece: count, lo, hi });
    return found ?? count++;
  };
  const isFlagged = ({ value }: Access): boolean => flagged.has(value);
  const read = slots.map((slot) => [...new Set(model.reads(slot).filter(isFlagged).map(pieceOf))]);
  const written = slots.map((slot) => [...new Set(model.writes(slot).filter(isFlagged).flatMap(
    ({ value, lo, hi }) => (byValue.get(value) ?? [])
      .filter((one) => one.lo < hi && lo < one.hi).map(({ piece }) => piece)))]);
  return { count, read, written };
}

function arrivals(model: Model, constants: SimulationConstants): Arrivals {
  const { plan, slots } = model;
  const { events } = plan;
  const slotList = Array.from({ length: slots }, (_, slot) => slot);
  // A reader waits for the words that it looks at, not for all of a value.
  const words = pieces(model, slotList);
  const count = events.count + words.count;
  const threshold = new Int32Array(count);
  threshold.set(events.threshold);
  const latency = new Float64Array(count).fill(constants.flagNanos);
  events.threshold.forEach((signals, event) => {
    latency[event] = constants.handOffNanos + constants.signalNanos * signals;
  });
  const listed = (lists: Plan["waits"], slot: number): number[] => {
    const task = plan.order.items[slot] ?? 0;
    const all = lists.items.subarray(lists.start[task], lists.start[task + 1]);
    return Array.from(all).filter((event) => events.manyOnly[event] !== 1);
  };
  const placed = (list: readonly number[] | undefined): number[] =>
    (list ?? []).map((piece) => events.count + piece);
  for (const list of words.written) for (const i of placed(list)) threshold[i] = (threshold[i] ?? 0) + 1;
  const crossStep = new Uint8Array(count);
  crossStep.set(events.crossStep);
  return {
    threshold,
    crossStep,
    awaited: slotList.map((slot) => [...listed(plan.waits, slot), ...placed(words.read[slot])]),
    signalled: slotList.map((slot) => [...listed(plan.signals, slot), ...placed(words.written[slot])]),
    latency,
  };
}

/** For `steps` steps of one token, of which one is `reported`. */
export function createClock(
  model: Model,
  steps: number,
  reported: number,
  constants: SimulationConstants,
): Clock {
  const { threshold, crossStep, awaited, signalled, latency } = arrivals(model, constants);
  const count = threshold.length;
  const late = Float64Array.from({ length: model.plan.machine.sms }, (_, sm) =>
    constants.handOffSpreadNanos * farness(sm));
  const missing = Array.from({ length: steps }, () => Int32Array.from(threshold));
  const arrived = Array.from({ length: steps }, () => new Float64Array(count));
  const blocked = new Map<number, number[]>();
  const list = (): Float64Array => new Float64Array(model.slots);
  const make = (): TaskTimes => ({
    free: list(), ready: list(), begin: list(), data: list(), consumed: list(), end: list(),
    stalled: list(),
  });
  const [kept, dropped] = [make(), make()];
  const stepEnd = new Float64Array(steps);
  let woken: number[] = [];
  return {
    waited(slot, step, sm) {
      let until = 0;
      for (const i of awaited[slot] ?? []) {
        const of = crossStep[i] === 1 ? step - 1 : step;
        if (of < 0) continue;
        if ((missing[of]?.[i] ?? 0) > 0) {
          const key = of * count + i;
          const queue = blocked.get(key);
          if (queue === undefined) blocked.set(key, [sm]);
          else queue.push(sm);
          return null;
        }
        until = Math.max(until, (arrived[of]?.[i] ?? 0) + (late[sm] ?? 0));
      }
      return until;
    },
    signal(slot, nanos, step) {
      stepEnd[step] = Math.max(stepEnd[step] ?? 0, nanos);
      const [left, at] = [missing[step], arrived[step]];
      if (left === undefined || at === undefined) return;
      for (const i of signalled[slot] ?? []) {
        at[i] = Math.max(at[i] ?? 0, nanos + (latency[i] ?? 0));
        left[i] = (left[i] ?? 0) - 1;
        if (left[i] !== 0) continue;
        const key = step * count + i;
        woken.push(...(blocked.get(key) ?? []));
        blocked.delete(key);
      }
    },
    takeWoken() {
      const taken = woken;
      woken = [];
      return taken;
    },
    times: (step) => (step === reported ? kept : dropped),
    stepEnd,
  };
}
