/** @file verify(): proves the laws of a Plan, or shows a smallest schedule that breaks one. */
import { verifyProgram } from "@mpk/ir";
import type { SemanticsTable } from "@mpk/ir";
import type { ScheduleTable } from "../contracts.ts";
import type { Plan } from "../plan.ts";
import { structureProblems } from "../structure.ts";
import { checkCounts } from "./counts.ts";
import { checkCoverage } from "./coverage.ts";
import { checkDeadlock } from "./deadlock.ts";
import { checkDevice } from "./device.ts";
import { execute, successions } from "./execution.ts";
import { checkFlags } from "./flags.ts";
import { checkMemory } from "./memory.ts";
import { buildModel } from "./model.ts";
import type { Model } from "./model.ts";
import { RaceWatch } from "./races.ts";
import { openLaw } from "./report.ts";
import type { LawReport, VerifyReport } from "./report.ts";
import { checkReuse } from "./reuse.ts";
import { checkPackable, checkStreams } from "./streams.ts";
import { collectTouches } from "./touches.ts";

/**
 * Checks a plan against the op table alone: what tasks touch is asked anew, nothing of the planner
 * is trusted. What holds for the declared maxima holds for every smaller step, since regions are
 * the same for every T and rows of a smaller step are a subset.
 *
 * Time grows linearly with tasks times SMs. Never throws for a broken plan; a plan whose parts do
 * not fit together, or whose Program is not valid, is reported under coverage, one with too little
 * room for an op's chunks under streams, and the other laws are then left unchecked.
 */
export function verify(plan: Plan, table: ScheduleTable): VerifyReport {
  const begin = performance.now();
  const laws = checkLaws(plan, table);
  return {
    laws,
    ok: laws.every(({ violations }) => violations.length === 0),
    millis: performance.now() - begin,
  };
}

function checkLaws(plan: Plan, table: ScheduleTable): readonly LawReport[] {
  const malformed = openLaw("coverage");
  for (const problem of structureProblems(plan)) malformed.violate(problem);
  const semantics: SemanticsTable = new Map([...table].map(([name, op]) => [name, op.semantics]));
  for (const { message } of verifyProgram(plan.program, semantics)) malformed.violate(message);
  const form = malformed.close();
  if (form.violations.length > 0) return [form];
  let model: Model;
  try {
    model = buildModel(plan, table);
  } catch (error) {
    // Facets throw on what they do not know: the program is not of this table.
    malformed.violate(error instanceof Error ? error.message : String(error));
    return [malformed.close()];
  }
  const unpackable = checkPackable(model);
  if (unpackable.violations.length > 0) return [unpackable];
  const touches = collectTouches(model);
  const races = openLaw("races");
  const memory = openLaw("memory");
  const executions = successions(plan).map((kinds) => {
    const watch = new RaceWatch(model, touches, races, kinds);
    const execution = execute(model, watch, kinds);
    checkReuse(model, touches, execution, watch.writerClocks, memory, races);
    return execution;
  });
  checkMemory(model, memory);
  checkFlags(model, races, memory);
  return [
    checkCoverage(model),
    races.close(),
    checkDeadlock(model, executions),
    checkCounts(model, executions),
    checkStreams(model),
    memory.close(),
    checkDevice(model),
  ];
}
