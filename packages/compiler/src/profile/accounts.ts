/** @file Where a step's time goes, by part, op and layer: means over SMs and steps. Pure. */
import type { Interval, InstructionTimes, Profile, StepTimes } from "@mpk/runtime";
import { segmentBytes, type Plan } from "@mpk/schedule";
import {
  overlaps, partNames, timelineOf, type Known, type Part, type Span,
} from "./timeline.ts";

/** Nanoseconds of a step, mean over SMs and steps. */
export interface Cost {
  readonly nanos: number;
  /** Of those, with the ring full: nothing was read from memory for this SM. */
  readonly fullNanos: number;
}

export interface Row {
  readonly name: string;
  readonly total: Cost;
  readonly parts: Readonly<Record<Part, Cost>>;
}

/** `floor + slow + the full rings of all parts = step`, and the parts add up to the step too. */
export interface Accounts {
  /** Steps that were averaged. */
  readonly steps: number;
  readonly stepNanos: number;
  /** Streamed bytes over the bandwidth given. */
  readonly floorNanos: number;
  /** While the ring was not full: longer than the floor by so much. */
  readonly slowNanos: number;
  readonly parts: Readonly<Record<Part, Cost>>;
  /** Ops at the same place of every layer are one row. */
  readonly byOp: readonly Row[];
  /** Layers in order; what is outside of them last. */
  readonly byLayer: readonly Row[];
  /** The log of full rings was cut: `fullNanos` are too small. */
  readonly cut: boolean;
}

/** The Plan's tasks by where they run, and who signals what. */
interface Placed {
  /** By SM and place in its list. */
  task(sm: number, instruction: number): number;
  /** By task id: [sm, place in its list]. */
  readonly placeOf: readonly (readonly [sm: number, instruction: number])[];
}

function place(plan: Plan): Placed {
  const { start, items } = plan.order;
  const placeOf: [number, number][] = [];
  for (let sm = 0; sm < plan.machine.sms; sm++) {
    const lo = start[sm] ?? 0;
    for (let i = lo; i < (start[sm + 1] ?? 0); i++) placeOf[items[i] ?? 0] = [sm, i - lo];
  }
  return { placeOf, task: (sm, instruction) => items[(start[sm] ?? 0) + instruction] ?? -1 };
}

/**
 * When each event of a step was complete: the latest end of the tasks that signal it. Where flags in
 * the data stand in for it, the words go out behind the task's last weights, before its end.
 */
function eventTimes(plan: Plan, placed: Placed, step: StepTimes): Float64Array {
  const times = new Float64Array(plan.events.count).fill(-Infinity);
  const bySm = new Map(step.sms.map((one) => [one.sm, one.instructions]));
  placed.placeOf.forEach(([sm, instruction], task) => {
    const { end = -Infinity, consumed = null } = bySm.get(sm)?.[instruction] ?? {};
    for (let i = plan.signals.start[task] ?? 0; i < (plan.signals.start[task + 1] ?? 0); i++) {
      const event = plan.signals.items[i] ?? 0;
      const out = plan.events.manyOnly[event] === 1 ? consumed ?? end : end;
      times[event] = Math.max(times[event] ?? -Infinity, out);
    }
  });
  return times;
}

function knownOf(plan: Plan, placed: Placed, step: StepTimes): Known {
  const times = eventTimes(plan, placed, step);
  return {
    attends: (op) => (plan.program.ops[op]?.states.length ?? 0) > 0,
    lastSignal({ sm, instruction }: InstructionTimes) {
      const task = placed.task(sm, instruction);
      let last = -Infinity;
      for (let i = plan.waits.start[task] ?? 0; i < (plan.waits.start[task + 1] ?? 0); i++) {
        const event = plan.waits.items[i] ?? 0;
        if (plan.events.crossStep[event] === 0) last = Math.max(last, times[event] ?? -Infinity);
      }
      return last === -Infinity ? null : last;
    },
  };
}

/**
 * From the moment the first SM sees the step's gate open until it sees the next one's; without a
 * next step, until its last instruction has ended.
 */
export function windowOf(step: StepTimes, next: StepTimes | undefined): Interval {
  const opened = (of: StepTimes) => Math.min(...of.sms.map((sm) => sm.opened));
  const ends = step.sms.flatMap((sm) => sm.instructions.map(({ end }) => end));
  const from = opened(step);
  const follows = next !== undefined && next.step === step.step + 1;
  return { from, to: follows ? opened(next) : ends.reduce((a, b) => Math.max(a, b), from) };
}

/** Every SM's spans of a step. */
export function spansOf(
  plan: Plan,
  profile: Profile,
  index: number,
): readonly { readonly sm: number; readonly spans: readonly Span[] }[] {
  const step = profile.steps[index];
  if (step === undefined) return [];
  const window = windowOf(step, profile.steps[index + 1]);
  const known = knownOf(plan, place(plan), step);
  return step.sms.map((one) => ({ sm: one.sm, spans: timelineOf(one, window, known) }));
}

/** Names of an op: its weights', else its own kind, with the scope behind its layer. */
export function opName(plan: Plan, index: number): string {
  const op = plan.program.ops[index];
  if (op === undefined) return "between instructions";
  const streamed = plan.layouts[index]?.weights.map((input) => op.inputs[input]) ?? [];
  const tensors = plan.program.weights
    .filter(({ value }) => streamed.includes(value))
    .flatMap(({ parts }) => parts.map(({ tensor }) => tensor.replace(/\.(weight|bias)$/, "")));
  const names = tensors.map((tensor) => tensor.split(".").at(-1));
  return names.length > 0 ? names.join(" + ") : op.kind;
}

type Sums = Map<string, Map<Part, { nanos: number; fullNanos: number }>>;

function add(sums: Sums, key: string, part: Part, nanos: number, fullNanos: number): void {
  const row = sums.get(key) ?? new Map<Part, { nanos: number; fullNanos: number }>();
  const cost = row.get(part) ?? { nanos: 0, fullNanos: 0 };
  cost.nanos += nanos;
  cost.fullNanos += fullNanos;
  sums.set(key, row.set(part, cost));
}

function rowOf(name: string, sums: Sums, divisor: number): Row {
  const row = sums.get(name);
  const costs = partNames.map((part) => {
    const { nanos = 0, fullNanos = 0 } = row?.get(part) ?? {};
    return [part, { nanos: nanos / divisor, fullNanos: fullNanos / divisor }] as const;
  });
  const total = {
    nanos: costs.reduce((sum, [, cost]) => sum + cost.nanos, 0),
    fullNanos: costs.reduce((sum, [, cost]) => sum + cost.fullNanos, 0),
  };
  return { name, total, parts: Object.fromEntries(costs) as Readonly<Record<Part, Cost>> };
}

/**
 * The accounts of a profile. Times of SMs without instructions do not count.
 * @param readBytesPerSecond what the floor is measured against
 */
export function accountsOf(plan: Plan, profile: Profile, readBytesPerSecond: number): Accounts {
  const all: Sums = new Map();
  const byOp: Sums = new Map();
  const byLayer: Sums = new Map();
  const names = plan.program.ops.map((_, op) => opName(plan, op));
  const layers = plan.program.ops.map(({ scope }) => /(?:^|\.)(\d+)(?:\.|$)/.exec(scope)?.[1]);
  let total = 0;
  let rows = 0;
  profile.steps.forEach((step, index) => {
    const { from, to } = windowOf(step, profile.steps[index + 1]);
    for (const { sm, spans } of spansOf(plan, profile, index)) {
      const full = overlaps(spans, profile.ringFull[sm] ?? []);
      spans.forEach(({ from: begin, to: end, part, op }, i) => {
        const cost = [part, end - begin, full[i] ?? 0] as const;
        add(all, "all", ...cost);
        add(byOp, op === null ? "between instructions" : names[op] ?? "?", ...cost);
        const layer = op === null ? undefined : layers[op];
        add(byLayer, layer === undefined ? "outside of layers" : `layer ${layer}`, ...cost);
      });
      total += to - from;
      rows++;
    }
  });
  const divisor = Math.max(1, rows);
  const { parts, total: sum } = rowOf("all", all, divisor);
  const bytes = segmentBytes(plan.streams.flat());
  const floorNanos = (bytes / readBytesPerSecond) * 1e9;
  const stepNanos = total / divisor;
  const ordered = (sums: Sums) => [...sums.keys()].map((name) => rowOf(name, sums, divisor));
  const number = (name: string) => Number(/\d+/.exec(name)?.[0] ?? Infinity);
  return {
    steps: profile.steps.length,
    stepNanos,
    floorNanos,
    slowNanos: stepNanos - sum.fullNanos - floorNanos,
    parts,
    byOp: ordered(byOp),
    byLayer: ordered(byLayer).sort((a, b) => number(a.name) - number(b.name)),
    cut: profile.ringFullCut,
  };
}
