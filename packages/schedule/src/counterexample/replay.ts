/**
 * @file replay(): runs a saved counterexample on a plan, move by move, and tells what goes wrong.
 * A plan in which a move is not possible, or nothing goes wrong in the end, does not show it.
 */
import type { ScheduleTable } from "../contracts.ts";
import type { Plan } from "../plan.ts";
import { structureProblems } from "../structure.ts";
import { verify } from "../verify/index.ts";
import { buildModel } from "../verify/model.ts";
import type { Access, Model } from "../verify/model.ts";
import { describeEvent } from "../verify/report.ts";
import { conflictsOf } from "./conflict.ts";
import type { Conflict, Touching } from "./conflict.ts";
import type { Claim, Counterexample, Point } from "./format.ts";
import { Stepper } from "./stepper.ts";
import type { Action, Move } from "./stepper.ts";
import { stepsBeyond, taskText } from "./witness.ts";

/** What a replayed counterexample did on a plan. */
export interface Replay {
  /** What happened, line by line. */
  readonly lines: readonly string[];
  /** Whether the plan still goes wrong like this. */
  readonly shown: boolean;
}

/** The counterexample is about another plan, or the plan cannot be run. */
export class ReplayError extends Error {
  override readonly name = "ReplayError";
}

/**
 * Replays a counterexample. Throws `ReplayError` where the plan is malformed or has other tasks in
 * the places that the counterexample names.
 */
export function replay(plan: Plan, table: ScheduleTable, saved: Counterexample): Replay {
  const [problem] = structureProblems(plan);
  if (problem !== undefined) throw new ReplayError(`the plan is malformed: ${problem}`);
  if (plan.machine.sms !== saved.sms || plan.program.name !== saved.program) {
    throw new ReplayError(
      `the counterexample is about ${saved.program} on ${saved.sms} SMs, the plan is of ` +
        `${plan.program.name} on ${plan.machine.sms}; replay it on the plan that it was saved from`,
    );
  }
  return replayOn(buildModel(plan, table), table, saved);
}

/** `replay` for a plan whose form is known to be right. */
export function replayOn(model: Model, table: ScheduleTable, saved: Counterexample): Replay {
  return new Player(model, table, saved).play();
}

class Player {
  readonly #plan: Plan;
  readonly #table: ScheduleTable;
  readonly #saved: Counterexample;
  readonly #model: Model;
  readonly #stepper: Stepper;
  readonly #lines: string[] = [];

  constructor(model: Model, table: ScheduleTable, saved: Counterexample) {
    this.#plan = model.plan;
    this.#table = table;
    this.#saved = saved;
    const steps = [...saved.schedule, ...pointsOf(saved.claim)].map(({ step }) => step);
    this.#model = model;
    this.#stepper = new Stepper(this.#model, Math.max(0, ...steps) + stepsBeyond, saved.kinds);
  }

  play(): Replay {
    const { claim, law, message } = this.#saved;
    this.#say(`replaying, against law ${law}: ${message}`);
    for (const point of pointsOf(claim)) this.#checkPoint(point);
    const shown = this.#runBefore() && this.#runSchedule() && this.#check(claim);
    this.#say(shown ? "the plan is WRONG: shown" : "the plan does not show this");
    return { lines: this.#lines, shown };
  }

  #say(line: string): void {
    this.#lines.push(line);
  }

  #checkPoint({ sm, place, task, text }: Point): void {
    const { order } = this.#plan;
    const list = order.items.subarray(order.start[sm] ?? 0, order.start[sm + 1] ?? 0);
    const got = list[place];
    if (got === task && taskText(this.#plan, task) === text) return;
    const there = got === undefined ? "nothing" : `task ${got}, ${taskText(this.#plan, got)}`;
    throw new ReplayError(
      `the counterexample has task ${task}, ${text}, at place ${place} of SM ${sm}; the plan has ` +
        `${there}; replay it on the plan that it was saved from`,
    );
  }

  /** Brings every SM to where the schedule begins. */
  #runBefore(): boolean {
    const limits = new Int32Array(this.#plan.machine.sms);
    for (const { sm, moves } of this.#saved.before) {
      if (sm >= limits.length) throw new ReplayError(`there is no SM ${sm}`);
      limits[sm] = moves;
    }
    this.#stepper.exhaust(limits);
    const at = this.#stepper.made.findIndex((made, sm) => made < (limits[sm] ?? 0));
    if (at >= 0) {
      this.#say(`SM ${at} does not come as far as the schedule begins: ${this.#why(at)}`);
      return false;
    }
    const moved = this.#saved.before.filter(({ moves }) => moves > 0);
    if (moved.length === 0) return true;
    const tasks = moved.reduce((sum, { moves }) => sum + (moves >> 1), 0);
    this.#say(`before: ${moved.length} SMs run ${tasks} tasks, each as far as its waits allow`);
    return true;
  }

  #runSchedule(): boolean {
    for (const wanted of this.#saved.schedule) {
      const { sm, step, task, action } = wanted;
      const next = this.#stepper.next(sm);
      if (next === null || next.step !== step || next.task !== task || next.action !== action) {
        const got = next === null ? "nothing" : `to ${next.action} task ${next.task}`;
        throw new ReplayError(
          `the schedule wants SM ${sm} to ${action} task ${task} in step ${step}; it has ${got} ` +
            `next; replay it on the plan that it was saved from`,
        );
      }
      if (this.#stepper.blocked(sm) !== null) {
        this.#say(`SM ${sm} cannot ${action} task ${task}: ${this.#why(sm)}`);
        return false;
      }
      const passed = this.#passedText(next);
      const events = this.#stepper.make(sm);
      const told = events.map((event) => `event ${event} is now ${this.#stepper.counters[event]}`);
      this.#say(`step ${step}, ${moveText(this.#plan, next)}${[passed, ...told].join("; ")}`);
    }
    return true;
  }

  #passedText(move: Move): string {
    const list = this.#stepper.needs(move).filter(({ expected }) => expected > 0);
    if (list.length === 0) return move.action === "finish" ? "" : ", waiting for nothing";
    const seen = list.map(
      ({ event, expected }) => `event ${event} (${this.#stepper.counters[event]} of ${expected})`,
    );
    return `, past ${seen.join(", ")}`;
  }

  #why(sm: number): string {
    const blocked = this.#stepper.blocked(sm);
    if (blocked === null) return "nothing holds it";
    const { event, writer, expected, seen } = blocked;
    if (event < 0) return `it polls for what ${this.#slotText(writer)} writes`;
    return `it waits for ${describeEvent(this.#plan, event)}, needs ${expected}, sees ${seen}`;
  }

  #slotText(slot: number): string {
    const task = this.#plan.order.items[slot] ?? -1;
    return `task ${task} on SM ${this.#plan.tasks.sm[task]}`;
  }

  #check(claim: Claim): boolean {
    switch (claim.kind) {
      case "race":
        return this.#checkRace(claim);
      case "epoch":
        return this.#checkEpoch(claim);
      case "deadlock":
        return this.#checkDeadlock(claim);
      case "count":
        return this.#checkCount(claim);
      case "law":
        return this.#checkLaw();
      default:
        throw new ReplayError("the counterexample claims nothing");
    }
  }

  #isOver(point: Point): boolean {
    return this.#made(point, point.entering ? "enter" : "finish");
  }

  #made({ sm, step, place }: Point, action: Action): boolean {
    return (this.#stepper.made[sm] ?? 0) > this.#stepper.index(sm, step, place, action);
  }

  #checkRace({ first, second }: Extract<Claim, { kind: "race" }>): boolean {
    const touching = ({ sm, place, step, entering }: Point): Touching => ({
      slot: (this.#plan.order.start[sm] ?? 0) + place, step, entering,
      kind: this.#stepper.kindOf(step),
    });
    const conflicts = conflictsOf(this.#model, touching(first), touching(second));
    const isOpen = this.#made(second, second.entering ? "enter" : "start") && !this.#isOver(first);
    if (!isOpen || conflicts.length === 0) {
      const why = conflicts.length === 0 ? "they touch nothing in common" : "they are in order";
      this.#say(`${pointText(first)} and ${pointText(second)}: ${why}`);
      return false;
    }
    const isSpoiled = ({ read }: Conflict): boolean =>
      read !== null && this.#isWritten(read, first.step);
    const found = conflicts.find((conflict) => conflict.isFlow || isSpoiled(conflict));
    const conflict = found ?? conflicts[0];
    this.#say(`${pointText(second)} is under way: ${conflict?.second}`);
    this.#say(`${pointText(first)} is not over: ${conflict?.first}`);
    if (found?.isFlow === true) this.#say(`${found.what}: read before it is written`);
    else if (found !== undefined) this.#say(`${found.what}: overwritten before it is read`);
    else if (this.#canMeet(first, second)) {
      this.#say(`both touch ${conflict?.what}, and nothing orders the two`);
    } else {
      this.#say("the one always comes after the other, and nothing is lost");
      return false;
    }
    return true;
  }

  /** Whether a writer of columns is over in a step. */
  #isWritten(read: Access, step: number): boolean {
    return [...this.#model.slotSm].some((sm, slot) => {
      const meets = ({ value, lo, hi }: Access): boolean =>
        value === read.value && lo < read.hi && read.lo < hi;
      const isOver = (this.#stepper.made[sm] ?? 0) > this.#stepper.finishOf(slot, step).index;
      return isOver && this.#model.writes(slot).some(meets);
    });
  }

  /** Whether the first can begin too while the second is under way. */
  #canMeet(first: Point, second: Point): boolean {
    const limits = new Int32Array(this.#plan.machine.sms).fill(2 ** 31 - 1);
    limits[second.sm] = this.#stepper.made[second.sm] ?? 0;
    this.#stepper.exhaust(limits);
    return this.#made(first, first.entering ? "enter" : "start");
  }

  #checkEpoch({ event, first, second }: Extract<Claim, { kind: "epoch" }>): boolean {
    const isEarly = this.#made(second, "finish") && !this.#isOver(first);
    this.#say(
      `${pointText(second)} has triggered event ${event}, now ${this.#stepper.counters[event]}; ` +
        `${pointText(first)} has ${this.#isOver(first) ? "too" : "not yet"}`,
    );
    if (isEarly) this.#say("who waits for the step before takes the one for the other");
    return isEarly;
  }

  #checkDeadlock({ waiting }: Extract<Claim, { kind: "deadlock" }>): boolean {
    this.#stepper.exhaust(new Int32Array(this.#plan.machine.sms).fill(2 ** 31 - 1));
    let stuck = waiting.length > 0;
    for (const point of waiting) {
      const next = this.#stepper.next(point.sm);
      const isThere = next?.step === point.step && next.task === point.task;
      const isStuck = isThere && this.#stepper.blocked(point.sm) !== null;
      stuck &&= isStuck;
      this.#say(
        isStuck
          ? `${pointText(point)} is stuck: ${this.#why(point.sm)}; ${this.#missing(point)}`
          : `${pointText(point)} gets through`,
      );
    }
    if (stuck) this.#say("all others have run as far as they can: this never ends");
    return stuck;
  }

  /** Who would have to trigger what a stuck SM waits for. */
  #missing({ sm, step }: Point): string {
    const { event = -1, writer = -1 } = this.#stepper.blocked(sm) ?? {};
    const { signals, events } = this.#plan;
    const epoch = step - (events.crossStep[event] ?? 0);
    const missing: string[] = [];
    this.#model.slotTask.forEach((task, slot) => {
      const list = signals.items.subarray(signals.start[task], signals.start[task + 1]);
      if (slot !== writer && !list.includes(event)) return;
      const end = this.#stepper.finishOf(slot, epoch);
      if ((this.#stepper.made[end.sm] ?? 0) <= end.index) missing.push(this.#slotText(slot));
    });
    const some = missing.length > 4 ? [...missing.slice(0, 3), `${missing.length - 3} more`] : missing;
    return missing.length === 0 ? "no trigger is left to come" : `still to come: ${some.join(", ")}`;
  }

  #checkCount({ event }: Extract<Claim, { kind: "count" }>): boolean {
    const { order, signals, events } = this.#plan;
    const threshold = events.threshold[event] ?? 0;
    const by: string[] = [];
    let triggers = 0;
    for (const task of order.items) {
      const list = signals.items.subarray(signals.start[task], signals.start[task + 1]);
      const times = list.filter((id) => id === event).length;
      triggers += times;
      if (times > 0) by.push(`task ${task}${times > 1 ? ` (${times} times)` : ""}`);
    }
    const some = by.length > 6 ? [...by.slice(0, 5), `${by.length - 5} more`] : by;
    this.#say(
      `event ${event}: waits are over at ${threshold} a step; it is triggered ${triggers} times` +
        (by.length === 0 ? "" : `, by ${some.join(", ")}`),
    );
    return threshold !== triggers;
  }

  #checkLaw(): boolean {
    const { law } = this.#saved;
    const report = verify(this.#plan, this.#table).laws.find(({ name }) => name === law);
    const violations = report?.violations ?? [];
    for (const { message } of violations.slice(0, 3)) this.#say(`${law}: ${message}`);
    return violations.length > 0;
  }
}

const pointText = ({ sm, step, task, entering, text }: Point): string =>
  entering ? `SM ${sm} entering step ${step}` : `SM ${sm}, step ${step}, task ${task}, ${text},`;

function moveText(plan: Plan, { sm, task, action }: Move): string {
  if (action === "enter") return `SM ${sm} reads the step descriptor`;
  const verb = action === "start" ? "starts" : "finishes";
  return `SM ${sm} ${verb} task ${task}, ${taskText(plan, task)}`;
}

function pointsOf(claim: Claim): readonly Point[] {
  switch (claim.kind) {
    case "race":
    case "epoch":
      return [claim.first, claim.second];
    case "deadlock":
      return claim.waiting;
    default:
      return [];
  }
}
