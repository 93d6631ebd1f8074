/** @file The laws as properties, for plans of any origin and any op table. */
import { createInterpreter } from "@mpk/ir";
import type { Precision, SemanticsTable, WeightSource } from "@mpk/ir";
import type { ScheduleTable } from "../contracts.ts";
import type { Plan } from "../plan.ts";
import { verify } from "../verify/index.ts";
import { createVirtualGpu } from "../virtual/index.ts";

/** A plan that breaks a law, or computes something else than its Program means. */
export class LawError extends Error {
  override readonly name = "LawError";
}

/**
 * True if all laws hold; throws `LawError` with every violation and the smallest schedule that
 * shows it, so that fast-check prints it.
 */
export function lawsHold(plan: Plan, table: ScheduleTable): true {
  const violations = verify(plan, table).laws.flatMap((law) => law.violations);
  if (violations.length === 0) return true;
  const text = violations.map(({ law, message, smallest }) => `${law}: ${message}\n${smallest}`);
  throw new LawError(text.join("\n"));
}

export interface Trial {
  readonly weights: WeightSource;
  readonly prompt: readonly number[];
  /** Tokens to generate. */
  readonly maxNew: number;
  /** Default "bf16". */
  readonly precision?: Precision;
  /** Prompt tokens per step; default the plan's maxTokens. */
  readonly promptChunk?: number;
}

/** What every step gives: the outputs' numbers in a row, in the order of their names. */
export type Outcome = readonly (readonly number[])[];

type Outputs = { readonly [name: string]: { readonly data: ArrayLike<number> } };

function numbersOf(outputs: Outputs): readonly number[] {
  return Object.keys(outputs).sort().flatMap((name) => Array.from(outputs[name]?.data ?? []));
}

/** Runs the plan on the virtual GPU, in one launch, interleaved by the seed. May throw. */
export function runScheduled(
  plan: Plan,
  table: ScheduleTable,
  trial: Trial,
  seed: number,
): Outcome {
  const { weights, precision = "bf16", ...request } = trial;
  const gpu = createVirtualGpu(plan, table, { weights, precision, seed });
  return Array.from(gpu.run(request), ({ outputs }) => numbersOf(outputs));
}

/** Runs the plan's Program on the reference interpreter; the output `token` goes on to be read. */
export function runReference(plan: Plan, table: ScheduleTable, trial: Trial): Outcome {
  const semantics: SemanticsTable = new Map([...table].map(([name, op]) => [name, op.semantics]));
  const { weights, precision = "bf16", prompt, maxNew } = trial;
  const interpreter = createInterpreter(plan.program, semantics, { weights, precision });
  const chunk = trial.promptChunk ?? plan.program.limits.maxTokens;
  const outcome: (readonly number[])[] = [];
  let fed = 0;
  let made = 0;
  let next = prompt.slice(0, chunk);
  while (made < maxNew && fed + next.length <= plan.program.limits.maxContext) {
    const { outputs } = interpreter.step({ ids: next });
    outcome.push(numbersOf(outputs));
    fed += next.length;
    if (fed >= prompt.length) made++;
    next = fed < prompt.length ? prompt.slice(fed, fed + chunk) : [outputs["token"]?.data[0] ?? 0];
  }
  return outcome;
}

/** How far two outcomes are apart: |a - b| / |b|, and infinite where steps or NaNs differ. */
export function distance(a: Outcome, b: Outcome): number {
  const [x, y] = [a.flat(), b.flat()];
  if (a.length !== b.length || x.length !== y.length) return Infinity;
  let [difference, norm] = [0, 0];
  x.forEach((value, i) => {
    difference += (value - (y[i] ?? 0)) ** 2;
    norm += (y[i] ?? 0) ** 2;
  });
  const far = Math.sqrt(difference) / Math.sqrt(Math.max(norm, Number.MIN_VALUE));
  return difference === 0 ? 0 : Number.isNaN(far) ? Infinity : far;
}

/**
 * True if the virtual GPU gives the interpreter's outputs within `tolerance` (relative, all steps
 * together; default exactly). Throws `LawError` otherwise, and what the virtual GPU throws.
 */
export function computesReference(
  plan: Plan,
  table: ScheduleTable,
  trial: Trial,
  seed: number,
  tolerance = 0,
): true {
  const far = distance(runScheduled(plan, table, trial, seed), runReference(plan, table, trial));
  if (far <= tolerance) return true;
  throw new LawError(`the schedule's outputs are ${far} from the reference, not ${tolerance}`);
}
