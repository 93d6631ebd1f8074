/** @file One SM's step as spans that each have a name and leave no moment out. Pure. */
import type { Interval, InstructionTimes, SmStep } from "@mpk/runtime";

/** What an SM's consumers do, or wait for, at a moment. */
export const parts = {
  gate: "the step's gate is open, this SM has not seen it",
  dispatch: "between two instructions",
  imbalance: "waiting for SMs that still work on what this one needs",
  handOff: "the last signal is out, this SM has not seen it",
  norm: "inputs normed and into shared memory",
  prepare: "what else comes before the first weights are asked for",
  ringEmpty: "waiting for weights: they are not there yet",
  stream: "using weights as they come",
  attention: "attention",
  compute: "ops without weights",
  finish: "sums, epilogue and stores after the last weights",
  signal: "outputs are stored, until the last signal is out",
  tail: "after this SM's last weights, until the next step's gate",
} as const;

export type Part = keyof typeof parts;
export const partNames = Object.keys(parts) as readonly Part[];

export interface Span extends Interval {
  readonly part: Part;
  /** Of the instruction; null between instructions. */
  readonly op: number | null;
  readonly instruction: number | null;
}

/** What the spans need to know beyond the times. */
export interface Known {
  /** When the last signal that an instruction waits for went out; null: it waits for none. */
  lastSignal(instruction: InstructionTimes): number | null;
  /** Whether an op reads state. */
  attends(op: number): boolean;
}

/** Boundaries of one instruction in time order, each with the part that ends there. */
function boundaries(
  one: InstructionTimes,
  known: Known,
): readonly (readonly [at: number, part: Part])[] {
  const signal = known.lastSignal(one);
  const { placed, asked, data, consumed, stored } = one;
  // Weights that a task has before its inputs: it waits for whichever comes last.
  const early = data !== null && data <= one.ready ? data : -Infinity;
  const waits = [
    [one.start, "dispatch"],
    ...(signal === null ? [] : [[Math.min(signal, one.ready), "imbalance"] as const]),
    ...(early > (signal ?? one.start) ? [[early, "ringEmpty"] as const] : []),
    [one.ready, "handOff"],
  ] as const;
  if (asked === null || data === null) {
    return [...waits, [one.end, known.attends(one.op) ? "attention" : "compute"]];
  }
  const used = consumed ?? data;
  // Later waits for weights have no place of their own: they are put first.
  const stalled = Math.min(one.stalledNanos, Math.max(0, used - data));
  return [
    ...waits, ...(placed === null ? [] : [[placed, "norm"] as const]), [asked, "prepare"],
    [data + stalled, "ringEmpty"], [used, "stream"],
    ...(stored === null ? [] : [[stored, "finish"] as const]),
    [one.end, stored === null ? "finish" : "signal"],
  ];
}

/**
 * Spans from `window.from` to `window.to`, without gap or overlap. Marks that are out of order or
 * outside the window move to its nearest end, so the lengths always add up to the window's.
 */
export function timelineOf(sm: SmStep, window: Interval, known: Known): readonly Span[] {
  const spans: Span[] = [];
  let at = window.from;
  const until = (to: number, part: Part, one: InstructionTimes | null) => {
    const clipped = Math.min(Math.max(to, at), window.to);
    if (clipped > at) {
      const { op = null, instruction = null } = one ?? {};
      spans.push({ from: at, to: clipped, part, op, instruction });
    }
    at = clipped;
  };
  until(sm.opened, "gate", null);
  const lastStreaming = sm.instructions.findLastIndex(({ data }) => data !== null);
  sm.instructions.forEach((one, i) => {
    const inTail = lastStreaming >= 0 && i > lastStreaming;
    for (const [to, part] of boundaries(one, known)) until(to, inTail ? "tail" : part, one);
  });
  until(window.to, "tail", null);
  return spans;
}

/** How long each span overlaps the intervals, which are in order and do not overlap each other. */
export function overlaps(
  spans: readonly Interval[],
  intervals: readonly Interval[],
): readonly number[] {
  let first = 0;
  return spans.map(({ from, to }) => {
    while (first < intervals.length && (intervals[first]?.to ?? 0) <= from) first++;
    let sum = 0;
    for (let i = first; i < intervals.length; i++) {
      const { from: begin, to: end } = intervals[i] ?? { from: to, to };
      if (begin >= to) break;
      sum += Math.min(end, to) - Math.max(begin, from);
    }
    return sum;
  });
}
