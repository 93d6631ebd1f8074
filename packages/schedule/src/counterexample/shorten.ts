/** @file counterexampleOf(): a run that shows a violation, without any move that can be spared. */
import type { ScheduleTable } from "../contracts.ts";
import type { Plan } from "../plan.ts";
import { buildModel } from "../verify/model.ts";
import type { Violation } from "../verify/report.ts";
import type { Counterexample } from "./format.ts";
import { ReplayError, replayOn } from "./replay.ts";
import { witnessOf } from "./witness.ts";

/**
 * A short run that shows a violation; for laws that no run shows, the law to ask again. Leaving any
 * one move of its schedule out, it shows nothing.
 */
export function counterexampleOf(
  plan: Plan,
  table: ScheduleTable,
  violation: Violation,
): Counterexample {
  const model = buildModel(plan, table);
  const shows = (saved: Counterexample): boolean => {
    try {
      return replayOn(model, table, saved).shown;
    } catch (error) {
      if (error instanceof ReplayError) return false;
      throw error;
    }
  };
  let made = witnessOf(model, violation);
  // What would have to come first may be a step later, and wait for words that come behind: no run shows it.
  // The law forbids it all the same, since words order nothing but themselves.
  const { law, message } = violation;
  if (made.claim.kind !== "law" && !shows(made)) made = witnessOf(model, { law, message });
  // Where triggers of another step may count, the run's own are not the only ones that do. The last
  // moves first: what came before them may have been there for their sake.
  for (let changed = made.schedule.length > 0; changed;) {
    changed = false;
    for (let i = made.schedule.length - 1; i >= 0; i--) {
      const shorter = { ...made, schedule: made.schedule.toSpliced(i, 1) };
      if (!shows(shorter)) continue;
      made = shorter;
      changed = true;
    }
  }
  return Object.freeze(made);
}
