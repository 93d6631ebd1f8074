/**
 * @file Runs a plan's tasks one move at a time, in any order that its waits allow. Shares nothing
 * with the verifier's own execution: no clocks, only counters. Pure but for the state it keeps.
 */
import type { Plan } from "../plan.ts";
import type { Happening } from "../verify/evidence.ts";
import type { StepKind } from "../verify/execution.ts";
import type { Model } from "../verify/model.ts";

/** `enter`: an SM reads a step's descriptor. A task's reads and writes lie between the others. */
export type Action = "enter" | "start" | "finish";
export const actions = ["enter", "start", "finish"] as const;

export interface Move {
  readonly sm: number;
  readonly step: number;
  /** In the SM's order. */
  readonly place: number;
  readonly task: number;
  readonly action: Action;
}

/** A wait for a count, or (`event` -1) a poll for what a slot writes. */
export interface Blocked {
  readonly event: number;
  readonly writer: number;
  readonly expected: number;
  readonly seen: number;
}

export class Stepper {
  readonly plan: Plan;
  readonly steps: number;
  readonly #model: Model;
  readonly #kinds: readonly StepKind[];
  /** Moves made, by SM. */
  readonly made: Int32Array;
  readonly counters: Float64Array;

  /** `kinds`: what the steps are; the last goes on. */
  constructor(model: Model, steps: number, kinds: readonly StepKind[]) {
    const { plan } = model;
    this.plan = plan;
    this.steps = steps;
    this.#model = model;
    this.#kinds = Array.from({ length: steps }, (_, i) => kinds[i] ?? kinds.at(-1) ?? "many");
    this.made = new Int32Array(plan.machine.sms);
    this.counters = new Float64Array(plan.events.count);
  }

  kindOf(step: number): StepKind {
    return this.#kinds[step] ?? "many";
  }

  /** Tasks in an SM's order. */
  length(sm: number): number {
    const { start } = this.plan.order;
    return (start[sm + 1] ?? 0) - (start[sm] ?? 0);
  }

  /** Moves of an SM before this one. */
  index(sm: number, step: number, place: number, action: Action): number {
    const within = action === "enter" ? 0 : 1 + 2 * place + (action === "finish" ? 1 : 0);
    return step * (1 + 2 * this.length(sm)) + within;
  }

  /** The move of an SM with this many before it; null once all steps are over. */
  move(sm: number, index: number): Move | null {
    const tasks = this.length(sm);
    const perStep = 1 + 2 * tasks;
    const step = Math.floor(index / perStep);
    if (tasks === 0 || step >= this.steps) return null;
    const within = index % perStep;
    const place = within === 0 ? 0 : (within - 1) >> 1;
    const task = this.plan.order.items[(this.plan.order.start[sm] ?? 0) + place] ?? -1;
    const action = within === 0 ? "enter" : within % 2 === 1 ? "start" : "finish";
    return { sm, step, place, task, action };
  }

  next(sm: number): Move | null {
    return this.move(sm, this.made[sm] ?? 0);
  }

  /** Steps before this one that an event counts: a many-only event leaves one-token steps out. */
  #counted(event: number, step: number): number {
    if (this.plan.events.manyOnly[event] !== 1) return step;
    return this.#kinds.slice(0, step).filter((kind) => kind === "many").length;
  }

  #isIdle(event: number, step: number): boolean {
    return this.plan.events.manyOnly[event] === 1 && this.#kinds[step] === "one";
  }

  /** Events that a move needs, with the counts that end the waits. */
  needs({ step, task, action }: Move): readonly { event: number; expected: number }[] {
    if (action === "finish") return [];
    const { waits, events } = this.plan;
    const list: { event: number; expected: number }[] = [];
    for (let i = waits.start[task] ?? 0; i < (waits.start[task + 1] ?? 0); i++) {
      const event = waits.items[i] ?? -1;
      const crosses = events.crossStep[event] === 1;
      // A step is entered behind the waits for the step before that lead the list.
      if (action === "enter" && !crosses) break;
      if (this.#isIdle(event, step)) continue;
      const epochs = this.#counted(event, step) + (crosses ? 0 : 1);
      list.push({ event, expected: (events.threshold[event] ?? 0) * epochs });
    }
    return list;
  }

  /** The slots whose words a move polls for: in steps of one token, before a task goes on. */
  polls({ sm, step, place, action }: Move): readonly number[] {
    if (action !== "start" || this.#kinds[step] !== "one") return [];
    const slot = (this.plan.order.start[sm] ?? 0) + place;
    return this.#model.polled(slot).map(({ writer }) => writer);
  }

  /** The move that ends a slot in a step. */
  finishOf(slot: number, step: number): { readonly sm: number; readonly index: number } {
    const sm = this.#model.slotSm[slot] ?? 0;
    const place = slot - (this.plan.order.start[sm] ?? 0);
    return { sm, index: this.index(sm, step, place, "finish") };
  }

  /** What an SM's next move waits for; null where it can be made, or there is none. */
  blocked(sm: number): Blocked | null {
    const move = this.next(sm);
    if (move === null) return null;
    for (const { event, expected } of this.needs(move)) {
      const seen = this.counters[event] ?? 0;
      if (seen < expected) return { event, writer: -1, expected, seen };
    }
    for (const writer of this.polls(move)) {
      const end = this.finishOf(writer, move.step);
      if ((this.made[end.sm] ?? 0) <= end.index) return { event: -1, writer, expected: 1, seen: 0 };
    }
    return null;
  }

  /** Events that a move triggers. */
  triggers({ step, task, action }: Move): readonly number[] {
    if (action !== "finish") return [];
    const { signals } = this.plan;
    const list = signals.items.subarray(signals.start[task], signals.start[task + 1]);
    return [...list].filter((event) => !this.#isIdle(event, step));
  }

  /** Makes an SM's next move, which must not be blocked; the events it triggered. */
  make(sm: number): readonly number[] {
    const move = this.next(sm);
    if (move === null) return [];
    this.made[sm] = (this.made[sm] ?? 0) + 1;
    const events = this.triggers(move);
    for (const event of events) this.counters[event] = (this.counters[event] ?? 0) + 1;
    return events;
  }

  /**
   * Makes every move that can be made, none of an SM beyond `limits[sm]` of its moves. Counters only
   * grow, so the end does not depend on the order.
   */
  exhaust(limits: ArrayLike<number>, onMove?: (move: Move) => void): void {
    const waiting = new Map<number, number[]>();
    // Slots are told from events by their sign.
    const keyOf = ({ event, writer }: Blocked): number => (event >= 0 ? event : -1 - writer);
    const ready = [...this.made.keys()].reverse();
    for (let sm = ready.pop(); sm !== undefined; sm = ready.pop()) {
      while ((this.made[sm] ?? 0) < (limits[sm] ?? 0)) {
        const move = this.next(sm);
        if (move === null) break;
        const blocked = this.blocked(sm);
        if (blocked !== null) {
          const list = waiting.get(keyOf(blocked)) ?? [];
          waiting.set(keyOf(blocked), list);
          list.push(sm);
          break;
        }
        const events = this.make(sm);
        const slot = (this.plan.order.start[sm] ?? 0) + move.place;
        for (const key of move.action === "finish" ? [...events, -1 - slot] : events) {
          ready.push(...(waiting.get(key) ?? []));
          waiting.delete(key);
        }
        onMove?.(move);
      }
    }
  }
}

/** The move that a happening must have made, to be over. */
export function endOf(stepper: Stepper, { sm, step, place, entering }: Happening): number {
  return stepper.index(sm, step, place, entering ? "enter" : "finish");
}

/** The move with which a happening begins. */
export function beginOf(stepper: Stepper, { sm, step, place, entering }: Happening): number {
  return stepper.index(sm, step, place, entering ? "enter" : "start");
}
