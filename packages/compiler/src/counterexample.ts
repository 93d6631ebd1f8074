/** @file Counterexamples of models and saved plans: made from a report, and replayed from a file. */
import { scheduleTable } from "@mpk/ops";
import { inputError, messageOf, MpkError, readBounded } from "@mpk/runtime";
import {
  counterexampleOf, loadCounterexample, PlanFormatError, replay, ReplayError,
} from "@mpk/schedule";
import type { Counterexample, Plan, Replay, VerifyReport } from "@mpk/schedule";
import type { CompileOptions } from "./compile.ts";
import { planOf } from "./files.ts";
import type { ModelSource } from "./load.ts";

/** Of all that a report found, the counterexample that is told soonest; null if all laws hold. */
export function shortestCounterexample(plan: Plan, report: VerifyReport): Counterexample | null {
  const violations = report.laws.flatMap((law) => law.violations);
  const moves = ({ claim, before, schedule }: Counterexample): number =>
    claim.kind === "law"
      ? Infinity : before.reduce((sum, { moves: made }) => sum + made, schedule.length);
  let best: Counterexample | null = null;
  for (const violation of violations) {
    const made = counterexampleOf(plan, scheduleTable, violation);
    if (best === null || moves(made) < moves(best)) best = made;
  }
  return best;
}

/** Bytes of a counterexample: a minimal one has a thousandth. */
const mostBytes = 64 * 2 ** 20;

/**
 * Replays a saved counterexample on a saved plan, or on that of a model.
 * @throws MpkError (input) naming the file that is no counterexample, or is another plan's.
 */
export async function replayFile(
  source: ModelSource,
  file: string,
  options: CompileOptions = {},
): Promise<Replay> {
  const plan = await planOf(source, options);
  try {
    const text = new TextDecoder().decode(readBounded(file, mostBytes));
    return replay(plan, scheduleTable, loadCounterexample(text));
  } catch (error) {
    const isOther = error instanceof ReplayError;
    if (error instanceof MpkError || !(isOther || error instanceof PlanFormatError)) throw error;
    throw inputError(
      `${file}: ${messageOf(error)}`,
      isOther
        ? "give the plan that it was saved from"
        : "name a file written by `mpk verify --save-counterexample`",
      error,
    );
  }
}
