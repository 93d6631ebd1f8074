/**
 * @file Turns a violation into a short run that shows it. Pure.
 *
 * Whatever must not be over yet is held; all others run as far as they can. Counters only grow, so
 * this reaches everything that can happen without it. Of that run only what the end rests on is
 * kept: going back from it, program order and the triggers that its waits counted.
 */
import { describeOp } from "../errors.ts";
import type { Plan } from "../plan.ts";
import type { Evidence, Happening, Waiting } from "../verify/evidence.ts";
import type { StepKind } from "../verify/execution.ts";
import type { Model } from "../verify/model.ts";
import type { Violation } from "../verify/report.ts";
import type { Claim, Counterexample, Point, ScheduledMove } from "./format.ts";
import { beginOf, endOf, Stepper } from "./stepper.ts";
import type { Move } from "./stepper.ts";

/** Steps that others are given, from a stuck one's on, to come to its help. */
export const stepsBeyond = 3;
/** A run as long as this is listed in full; of a longer one, the start is told by SM. */
const mostListed = 24;

/** A run that shows a violation; for laws that no run shows, the law to ask again. */
export function witnessOf(
  model: Model, { law, message, evidence }: Omit<Violation, "smallest">,
): Counterexample {
  const { plan } = model;
  const none: Shown = { kinds: ["many"], claim: { kind: "law" }, before: [], schedule: [] };
  const shown = evidence === undefined ? none : (witness(model, evidence) ?? none);
  return Object.freeze({
    format: "mpk-counterexample", version: 1,
    program: plan.program.name, sms: plan.machine.sms, law, message, ...shown,
  });
}

type Shown = Pick<Counterexample, "kinds" | "claim" | "before" | "schedule">;

const shownBy = {
  race: (model, evidence) => {
    const { what, first, second, kinds } = evidence;
    const points = { first: pointOf(model.plan, first), second: pointOf(model.plan, second) };
    return holding(model, kinds, first, second, { kind: "race", what, ...points });
  },
  epoch: showEpoch,
  deadlock: showDeadlock,
  count: ({ plan }, { event, triggers }) => ({
    claim: { kind: "count", event, threshold: plan.events.threshold[event] ?? 0, triggers },
    kinds: ["many"], before: [], schedule: [],
  }),
} as const satisfies {
  readonly [K in Evidence["kind"]]: (
    model: Model, evidence: Extract<Evidence, { kind: K }>,
  ) => Shown | null;
};

function witness(model: Model, evidence: Evidence): Shown | null {
  const show = shownBy[evidence.kind] as (model: Model, evidence: Evidence) => Shown | null;
  return show(model, evidence);
}

/**
 * A run in which `second` begins (or, for an epoch, is over) while `first` is not over; null where
 * there is none.
 */
function holding(
  model: Model,
  kinds: readonly StepKind[],
  first: Happening,
  second: Happening,
  claim: Claim,
): Shown | null {
  const stepper = new Stepper(model, Math.max(first.step, second.step) + 1, kinds);
  const limits = new Int32Array(model.plan.machine.sms).fill(2 ** 31 - 1);
  const goal = (claim.kind === "epoch" ? endOf : beginOf)(stepper, second) + 1;
  limits[first.sm] = endOf(stepper, first);
  if (first.sm === second.sm && goal > (limits[first.sm] ?? 0)) return null;
  limits[second.sm] = Math.min(limits[second.sm] ?? 0, goal);
  const timeline: Move[] = [];
  stepper.exhaust(limits, (move) => timeline.push(move));
  if ((stepper.made[second.sm] ?? 0) < goal) return null;
  const needed = slice(stepper, timeline, [[second.sm, goal]]);
  return { kinds, claim, ...listed(stepper, timeline, needed, new Map([[second.sm, goal]])) };
}

/** Moves of each SM that lead to the goals: program order and the triggers that waits counted. */
function slice(
  stepper: Stepper,
  timeline: readonly Move[],
  goals: readonly (readonly [sm: number, moves: number])[],
): Int32Array {
  const triggers = triggersIn(timeline, stepper);
  const needed = new Int32Array(stepper.made.length);
  const open = [...goals];
  for (let goal = open.pop(); goal !== undefined; goal = open.pop()) {
    const [sm, moves] = goal;
    for (let i = needed[sm] ?? 0; i < moves; i++) {
      const move = stepper.move(sm, i);
      for (const writer of move === null ? [] : stepper.polls(move)) {
        const end = stepper.finishOf(writer, move?.step ?? 0);
        if ((needed[end.sm] ?? 0) <= end.index) open.push([end.sm, end.index + 1]);
      }
      for (const { event, expected } of move === null ? [] : stepper.needs(move)) {
        for (const [other, index] of (triggers.get(event) ?? []).slice(0, expected)) {
          if ((needed[other] ?? 0) <= index) open.push([other, index + 1]);
        }
      }
    }
    needed[sm] = Math.max(needed[sm] ?? 0, moves);
  }
  return needed;
}

/** By event, the SM and move of each trigger, in the order of the run. */
function triggersIn(
  timeline: readonly Move[],
  stepper: Stepper,
): ReadonlyMap<number, (readonly [sm: number, index: number])[]> {
  const counted = new Int32Array(stepper.made.length);
  const triggers = new Map<number, (readonly [number, number])[]>();
  for (const move of timeline) {
    const index = counted[move.sm] ?? 0;
    counted[move.sm] = index + 1;
    for (const event of stepper.triggers(move)) {
      const list = triggers.get(event) ?? [];
      triggers.set(event, list);
      list.push([move.sm, index]);
    }
  }
  return triggers;
}

/** The needed moves in the run's order: all, or where they are many those of the goals' last tasks. */
function listed(
  stepper: Stepper,
  timeline: readonly Move[],
  needed: Int32Array,
  goals: ReadonlyMap<number, number>,
): Pick<Counterexample, "before" | "schedule"> {
  const isLong = needed.reduce((sum, moves) => sum + moves, 0) > mostListed;
  const before = needed.map((moves, sm) => {
    if (!isLong) return 0;
    const last = stepper.move(sm, moves - 1);
    const goal = goals.get(sm);
    if (goal === undefined || last === null) return moves;
    return stepper.index(sm, last.step, last.place, last.action === "enter" ? "enter" : "start");
  });
  const counted = new Int32Array(needed.length);
  const schedule: ScheduledMove[] = [];
  for (const { sm, step, task, action } of timeline) {
    const index = counted[sm] ?? 0;
    counted[sm] = index + 1;
    if (index < (before[sm] ?? 0) || index >= (needed[sm] ?? 0)) continue;
    schedule.push({ sm, step, task, action });
  }
  return {
    before: [...before].flatMap((moves, sm) => (moves === 0 ? [] : [{ sm, moves }])),
    schedule,
  };
}

/** One trigger of the step before that may come later than `second`'s. */
function showEpoch(model: Model, evidence: Extract<Evidence, { kind: "epoch" }>): Shown | null {
  const { event, second, kinds } = evidence;
  const { plan } = model;
  const { order, signals } = plan;
  for (let sm = 0; sm < plan.machine.sms; sm++) {
    const [from, to] = [order.start[sm] ?? 0, order.start[sm + 1] ?? 0];
    for (let place = 0; place < to - from; place++) {
      const task = order.items[from + place] ?? -1;
      const list = signals.items.subarray(signals.start[task], signals.start[task + 1]);
      if (!list.includes(event)) continue;
      const first = { sm, place, step: second.step - 1, entering: false };
      const points = { first: pointOf(plan, first), second: pointOf(plan, second) };
      const shown = holding(model, kinds, first, second, { kind: "epoch", event, ...points });
      if (shown !== null) return shown;
    }
  }
  return null;
}

function showDeadlock(
  model: Model,
  evidence: Extract<Evidence, { kind: "deadlock" }>,
): Shown | null {
  const { waiting, kinds } = evidence;
  const { plan } = model;
  const steps = Math.max(...waiting.map(({ step }) => step)) + stepsBeyond;
  const stepper = new Stepper(model, steps, kinds);
  const timeline: Move[] = [];
  const limits = new Int32Array(plan.machine.sms).fill(2 ** 31 - 1);
  stepper.exhaust(limits, (move) => timeline.push(move));
  const isStuck = ({ sm, step, place, event }: Waiting): boolean => {
    const next = stepper.next(sm);
    const at = next?.step === step && next.place === place;
    return at && stepper.blocked(sm)?.event === event;
  };
  if (!waiting.every(isStuck)) return null;
  const goals = waiting.map(({ sm }) => [sm, stepper.made[sm] ?? 0] as const);
  const needed = slice(stepper, timeline, goals);
  const points = waiting.map((at) => pointOf(plan, at));
  const moves = listed(stepper, timeline, needed, new Map());
  return { kinds, claim: { kind: "deadlock", waiting: points }, ...moves };
}

function pointOf(plan: Plan, { sm, step, place, entering }: Happening): Point {
  const task = plan.order.items[(plan.order.start[sm] ?? 0) + place] ?? -1;
  return { sm, step, place, task, entering, text: taskText(plan, task) };
}

/** `linear (layers.0.mlp) at llama.ts:41, tiles 4..6`. */
export function taskText({ program, tasks }: Plan, task: number): string {
  const op = program.ops[tasks.op[task] ?? -1];
  const name = op === undefined ? "an op that does not exist" : describeOp(op);
  return `${name}, tiles ${tasks.tileLo[task]}..${tasks.tileHi[task]}`;
}
