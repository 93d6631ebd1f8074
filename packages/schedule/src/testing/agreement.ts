/** @file The verifier and SPIN asked about the same plans; what they say, why they may differ. */
import type { ScheduleTable } from "../contracts.ts";
import { PlanError } from "../errors.ts";
import type { Plan } from "../plan.ts";
import { renderLoader, tableText } from "../promela/render.ts";
import { ringInput, ringLimits, ringModel } from "../promela/ringModel.ts";
import { planTables } from "../promela/tables.ts";
import type { ModelSizes } from "../promela/tables.ts";
import { verify } from "../verify/index.ts";
import type { LawName } from "../verify/report.ts";
import { compileSpin } from "./spin.ts";
import type { SpinVerdict } from "./spin.ts";

export const agreements = ["agreed good", "agreed bad", "verifier only", "SPIN only"] as const;
export type Agreement = (typeof agreements)[number];

/**
 * Why a broken law need not show in any execution of the model; null: it always does, and a plan
 * that breaks this law and no other that is explained must fail in SPIN too.
 */
export const whyUnshown = {
  coverage: "tiles run twice with the same result, or not at all where nobody reads them",
  races: null,
  deadlock: null,
  counts: "a wrong threshold that nobody waits for, or that other waits make up for",
  streams: "a ring refused for its shape, where no execution of so few chunks goes wrong",
  memory: "a placement that is wrong for bytes nobody reads, or past the arena's end",
  device: "numbers, counters and room that only the kernel has",
} as const satisfies Record<LawName, string | null>;

export interface Opinion {
  readonly agreement: Agreement;
  /** Laws that the verifier finds broken. */
  readonly laws: readonly LawName[];
  readonly spinError: string | null;
  readonly states: number;
}

/** Both opinions on plans that fit the sizes; models are compiled once. */
export interface Bench {
  judge(plans: readonly Plan[]): readonly Opinion[];
  dispose(): void;
}

/** Entries of the largest table: small plans stay far below. */
const tableEntries = 8000;

export function openBench(table: ScheduleTable, sizes: ModelSizes, steps: number): Bench {
  const models = compileSpin(renderLoader(sizes, steps, tableEntries));
  const rings = compileSpin(ringModel);
  const known = new Map<string, SpinVerdict>();
  const ringVerdicts = (inputs: readonly string[]): readonly SpinVerdict[] => {
    const fresh = [...new Set(inputs)].filter((input) => !known.has(input));
    rings.search(fresh).forEach((verdict, i) => known.set(fresh[i] ?? "", verdict));
    return inputs.flatMap((input) => known.get(input) ?? []);
  };
  return {
    judge(plans) {
      const tables = plans.map((plan) => planTables(plan, table, steps));
      for (const made of tables) checkFits(made.sizes, sizes);
      const own = models.search(tables.map(tableText));
      const ring = ringVerdicts(plans.map(ringOf));
      return plans.map((plan, i) => {
        const report = verify(plan, table);
        const laws = report.laws.flatMap((l) => (l.violations.length > 0 ? [l.name] : []));
        const spinError = own[i]?.error ?? ring[i]?.error ?? null;
        const isGood = spinError === null;
        const agreement = report.ok
          ? isGood ? "agreed good" : "SPIN only"
          : isGood ? "verifier only" : "agreed bad";
        return { agreement, laws, spinError, states: own[i]?.states ?? 0 };
      });
    },
    dispose: () => {
      models.dispose();
      rings.dispose();
    },
  };
}

function checkFits(needed: ModelSizes, sizes: ModelSizes): void {
  for (const key of ["sms", "events", "history", "writers"] as const) {
    if (needed[key] <= sizes[key]) continue;
    throw new PlanError(
      `the bench is open for plans of at most ${sizes[key]} ${key}, got ${needed[key]}; open a ` +
        `larger one`,
    );
  }
}

/** Two laps and a bit, in one task: all positions of warps and producer to each other. */
function ringOf({ ring: { stages, consumerWarps, maxInFlight } }: Plan): string {
  const chunks = Math.min(2 * stages + 2, ringLimits.chunks);
  return ringInput({
    stages, warps: consumerWarps, inFlight: maxInFlight, taskChunks: chunks, chunks, defect: "none",
  });
}

/** Whether one of the broken laws need not show. */
export function isExplained({ laws }: Opinion): boolean {
  return laws.some((law) => whyUnshown[law] !== null);
}
