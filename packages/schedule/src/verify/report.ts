/** @file What the verifier reports, and how it names tasks, events and edges. Pure. */
import { describeOp } from "../errors.ts";
import type { Plan } from "../plan.ts";
import type { Evidence } from "./evidence.ts";

/** The six laws of a Plan, in order, and a seventh: what the kernel adds below it. */
export const lawNames = [
  "coverage", "races", "deadlock", "counts", "streams", "memory", "device",
] as const;
/** A law by its name. */
export type LawName = (typeof lawNames)[number];

export interface Violation {
  readonly law: LawName;
  /** Who and where: op, scope, call site, tasks, SMs, event; expected and got. */
  readonly message: string;
  /** The fewest tasks, waits and signals that still show it, as text. */
  readonly smallest: string;
  /** Where the order of tasks is at fault: which, for `counterexampleOf`. */
  readonly evidence?: Evidence;
}

export interface LawReport {
  /** 1 to 7. */
  readonly law: number;
  readonly name: LawName;
  /** What was checked, and how many of each. */
  readonly checked: { readonly [what: string]: number };
  readonly violations: readonly Violation[];
}

export interface VerifyReport {
  readonly laws: readonly LawReport[];
  readonly ok: boolean;
  readonly millis: number;
}

/** More of the same kind tell nothing new. */
const mostViolations = 20;

/** Collects one law's counts and violations. */
export interface LawBook {
  count(what: string, by?: number): void;
  violate(message: string, smallest?: readonly string[], evidence?: Evidence): void;
  close(): LawReport;
}

export function openLaw(name: LawName): LawBook {
  const checked: { [what: string]: number } = {};
  const violations: Violation[] = [];
  const told = new Set<string>();
  return {
    count: (what, by = 1) => {
      checked[what] = (checked[what] ?? 0) + by;
    },
    violate: (message, smallest = [], evidence) => {
      if (violations.length >= mostViolations || told.has(message)) return;
      told.add(message);
      const violation = { law: name, message, smallest: smallest.join("\n") };
      violations.push(evidence === undefined ? violation : { ...violation, evidence });
    },
    close: () => ({ law: lawNames.indexOf(name) + 1, name, checked, violations }),
  };
}

/** `task 12, linear (layers.0.mlp) at llama.ts:41 tiles 4..6 on SM 3`. */
export function describeTask(plan: Plan, task: number): string {
  const op = plan.program.ops[plan.tasks.op[task] ?? -1];
  const name = op === undefined ? "an op that does not exist" : describeOp(op);
  const tiles = `tiles ${plan.tasks.tileLo[task]}..${plan.tasks.tileHi[task]}`;
  return `task ${task}, ${name} ${tiles} on SM ${plan.tasks.sm[task]}`;
}

/** One line of a smallest schedule: the task with its waits and signals. */
export function taskLine(plan: Plan, task: number, note = ""): string {
  const events = (list: { start: Int32Array; items: Int32Array }): string => {
    const ids = [...list.items.subarray(list.start[task], list.start[task + 1])];
    return ids.length === 0 ? "nothing" : ids.map((id) => describeEvent(plan, id)).join(", ");
  };
  const tail = note === "" ? "" : `; ${note}`;
  return (
    `SM ${plan.tasks.sm[task]}: ${describeTask(plan, task)}; ` +
    `waits for ${events(plan.waits)}; signals ${events(plan.signals)}${tail}`
  );
}

/** `event 4 (132 triggers)`, with `previous step` where it crosses steps. */
export function describeEvent(plan: Plan, event: number): string {
  const cross = plan.events.crossStep[event] === 1 ? ", previous step" : "";
  const many = plan.events.manyOnly[event] === 1 ? ", steps of several tokens" : "";
  return `event ${event} (threshold ${plan.events.threshold[event]}${cross}${many})`;
}

export function valueName(plan: Plan, value: number): string {
  return plan.program.values[value]?.name ?? `value ${value}`;
}
