/**
 * @file Discrete-event simulation of a Plan: when each task would run on a GPU. Copies of all SMs
 * share the memory first come, first served; each SM's ring, in-flight cap, order and waits are the
 * Plan's. Pure and deterministic.
 */
import type { ScheduleTable } from "../contracts.ts";
import { describeOp, PlanError } from "../errors.ts";
import { holdsStream } from "../holds.ts";
import { segmentBytes, type Plan } from "../plan.ts";
import { createClock } from "./clock.ts";
import type { Clock, TaskTimes } from "./clock.ts";
import { farness, type SimulationConstants } from "./constants.ts";
import { taskCosts } from "./costs.ts";
import { createRecorder } from "./recording.ts";
import type { Recording } from "./recording.ts";
import { createQueue } from "./queue.ts";
import { buildModel } from "../verify/model.ts";
import type { Model } from "../verify/model.ts";
import { createSm } from "./sm.ts";
import type { SimulatedSm } from "./sm.ts";

/** Of `simulate`. */
export interface SimulationOptions {
  /** Steps back to back, of which the last but one is reported; default 3. */
  readonly steps?: number;
  /** Positions in the KV cache before the step; default 128. */
  readonly context?: number;
  /** Also keep what rings held and what was read over time; default: not. */
  readonly record?: boolean;
}

/** What the consumers of an SM that could not copy were doing. */
export const idleCauses = ["handOff", "prologue", "products"] as const;
/** Why an SM read nothing. */
export type IdleCause = (typeof idleCauses)[number];

/** One step of one token in the steady state, nanoseconds. */
export interface Simulation {
  readonly stepNanos: number;
  /**
   * Bytes that all SMs stream in a step, weights and what they copy of the cache, and the time they take at
   * full bandwidth.
   */
  readonly streamBytes: number;
  readonly floorNanos: number;
  /** More, since streams get a share of that bandwidth only. */
  readonly slowNanos: number;
  /** Relative to the step's start; an SM that is ahead may be free for a task before it. */
  readonly times: TaskTimes;
  /**
   * Time in which the memory stood still until some SM could copy again, by what that SM's
   * consumers were doing meanwhile and by op. With `floorNanos` and `slowNanos` it adds up to the
   * step, but for what the rings hold more or less at its end than at its start.
   */
  readonly idleNanos: Readonly<Record<IdleCause, Float64Array>>;
  /** Where `record` asks for it. */
  readonly recording: Recording | null;
}

/** The memory stood still until this SM could copy. */
interface Gap {
  readonly from: number;
  readonly to: number;
  readonly sm: number;
}

/** Throws `PlanError` if the plan hangs, naming the first task that waits for ever. */
export const simulate = (
  plan: Plan,
  table: ScheduleTable,
  constants: SimulationConstants,
  options: SimulationOptions = {},
): Simulation => simulatorOf(plan, table)(constants, options);

/** Simulates one plan, with many constants: what it does and waits for is looked up once. */
export function simulatorOf(
  plan: Plan,
  table: ScheduleTable,
): (constants: SimulationConstants, options?: SimulationOptions) => Simulation {
  const model = buildModel(plan, table);
  const holds = holdsStream(plan);
  return (constants, options = {}) => run(model, holds, constants, options);
}

function run(
  model: Model,
  holds: boolean,
  constants: SimulationConstants,
  options: SimulationOptions,
): Simulation {
  const { plan } = model;
  const { steps = 3, context = 128, record = false } = options;
  if (!(Number.isInteger(steps) && steps >= 3)) {
    throw new PlanError(`simulate: expected at least 3 steps, got ${steps}`);
  }
  if (!(Number.isInteger(context) && context >= 0)) {
    throw new PlanError(`simulate: context must be a number of positions, got ${context}`);
  }
  const costs = taskCosts(model, constants, context);
  // The last step has no successor whose stream overlaps it.
  const reported = steps - 2;
  const memory = { busyUntil: 0 };
  const clock = createClock(model, steps, reported, constants);
  const recorder = record ? createRecorder(plan.machine.sms) : null;
  const simulated = { plan, steps, clock, costs, constants, holds, recorder };
  const sms = Array.from({ length: plan.machine.sms }, (_, sm) => createSm(simulated, sm));
  const gaps = copyAll(plan, sms, memory, clock, constants, reported);
  requireReached(plan, sms, reported + 1);
  const span = [clock.stepEnd[reported - 1] ?? 0, clock.stepEnd[reported] ?? 0] as const;
  const recording = recorder === null ? null : recorder.between(...span);
  const copied = segmentBytes(plan.streams.flat()) + costs.copiedBytes.reduce((sum, n) => sum + n, 0);
  return report(plan, clock.times(reported), span, gaps, constants, copied, recording);
}

/** Issues copies in the order of time, up to the end of step `last`; consumers get on as they arrive. */
function copyAll(
  plan: Plan,
  sms: readonly SimulatedSm[],
  memory: { busyUntil: number },
  clock: Clock,
  { copyLatencyNanos, copySpreadNanos, streamShare }: SimulationConstants,
  last: number,
): readonly Gap[] {
  const queue = createQueue(sms.length);
  const latencies = sms.map((_, sm) => Math.max(0, copyLatencyNanos + copySpreadNanos * (farness(sm) - 0.5)));
  const bytesPerNano = (plan.machine.readBytesPerSecond * streamShare) / 1e9;
  const gaps: Gap[] = [];
  // An SM whose consumers may have got on, and all whose events have triggered by that.
  const settle = (first: number): void => {
    const todo = [first];
    for (let index = todo.pop(); index !== undefined; index = todo.pop()) {
      const sm = sms[index];
      if (sm === undefined) continue;
      sm.consume();
      todo.push(...clock.takeWoken());
      const next = sm.takeRequest();
      if (next !== null) queue.push(index, next);
    }
  };
  sms.forEach((_, index) => settle(index));
  let behind = 0;
  for (let index = queue.pop(); index >= 0; index = queue.pop()) {
    const sm = sms[index];
    while (sms[behind]?.reached(last + 1) === true) behind++;
    const isOver = behind === sms.length && memory.busyUntil >= (clock.stepEnd[last] ?? 0);
    if (sm === undefined || isOver) break;
    if (queue.nanos > memory.busyUntil) {
      gaps.push({ from: memory.busyUntil, to: queue.nanos, sm: index });
      memory.busyUntil = queue.nanos;
    }
    memory.busyUntil += sm.copyBytes() / bytesPerNano;
    sm.arrive(memory.busyUntil + (latencies[index] ?? 0));
    settle(index);
  }
  return gaps;
}

function requireReached(plan: Plan, sms: readonly SimulatedSm[], step: number): void {
  const stuck = sms.findIndex((sm) => !sm.reached(step));
  if (stuck < 0) return;
  const op = plan.program.ops[plan.tasks.op[plan.order.items[sms[stuck]?.slot() ?? 0] ?? 0] ?? 0];
  const what = op === undefined ? "a task" : describeOp(op);
  throw new PlanError(`simulate: SM ${stuck} waits for ever at ${what}; verify the plan`);
}

function report(
  plan: Plan,
  times: TaskTimes,
  [start, stop]: readonly [number, number],
  gaps: readonly Gap[],
  { streamShare }: SimulationConstants,
  streamBytes: number,
  recording: Recording | null,
): Simulation {
  const stepNanos = stop - start;
  const relative = (list: Float64Array): Float64Array => list.map((nanos) => nanos - start);
  const { free, ready, begin, data, consumed, end, stalled } = times;
  const floorNanos = (streamBytes / plan.machine.readBytesPerSecond) * 1e9;
  return {
    stepNanos,
    streamBytes,
    floorNanos,
    slowNanos: floorNanos / streamShare - floorNanos,
    recording,
    times: {
      free: relative(free), ready: relative(ready), begin: relative(begin), data: relative(data),
      consumed: relative(consumed), end: relative(end), stalled,
    },
    idleNanos: blame(plan, times, [start, stop], gaps),
  };
}

/** Cuts each gap along the tasks of the SM that ended it. */
function blame(
  plan: Plan,
  { ready, begin, end }: TaskTimes,
  [start, stop]: readonly [number, number],
  gaps: readonly Gap[],
): Simulation["idleNanos"] {
  const make = (): Float64Array => new Float64Array(plan.program.ops.length);
  const idle = { handOff: make(), prologue: make(), products: make() };
  const { order, tasks } = plan;
  const next = order.start.slice();
  for (const { from, to, sm } of gaps) {
    let slot = next[sm] ?? 0;
    const last = (order.start[sm + 1] ?? 0) - 1;
    while (slot < last && (end[slot] ?? 0) <= from) slot++;
    next[sm] = slot;
    let at = Math.max(from, start);
    for (; at < Math.min(to, stop); slot++) {
      const op = tasks.op[order.items[Math.min(slot, last)] ?? 0] ?? 0;
      const add = (cause: IdleCause, until: number): void => {
        const nanos = Math.min(to, stop, until) - at;
        if (nanos <= 0) return;
        idle[cause][op] = (idle[cause][op] ?? 0) + nanos;
        at += nanos;
      };
      // Before its first task of the step an SM waits for the step; after its last, for the next.
      add("handOff", slot > last ? Infinity : ready[slot] ?? 0);
      add("prologue", begin[slot] ?? 0);
      add("products", end[slot] ?? 0);
    }
  }
  return idle;
}
