/** @file A broken plan is caught wherever the virtual GPU can show that it is broken. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { verify } from "../src/index.ts";
import {
  distance, flaggedPlans, mutatedPlans, mutationKinds, plans, runReference, runScheduled, toyWeights,
} from "../src/testing/index.ts";
import type { MutatedPlan, MutationKind } from "../src/testing/index.ts";
import { toyTable } from "../src/testing/toyTable.ts";

const sitesPerKind = 110;
/** In plans with flags in the data. */
const flaggedSitesPerKind = 25;
const interleavings = 6;

type Verdict = "caught" | "refused, not shown" | "harmless" | "missed";

/** What only flags can break. */
const forFlags: readonly MutationKind[] = [
  "use one copy of flagged values", "share a flagged row's bytes",
  "put flagged rows among the others", "no longer flag a value",
];

/** Wrong values or a hang in any of several interleavings. */
function isShownBroken({ original, mutated }: MutatedPlan): boolean {
  const trial = { weights: toyWeights(original.program), prompt: [1, 2, 3, 4, 5], maxNew: 3 };
  const expected = runReference(original, toyTable, trial);
  for (let seed = 0; seed < interleavings; seed++) {
    try {
      if (distance(runScheduled(mutated, toyTable, trial, seed), expected) > 0) return true;
    } catch {
      return true;
    }
  }
  return false;
}

function judge(made: MutatedPlan): Verdict {
  const { ok } = verify(made.mutated, toyTable);
  if (isShownBroken(made)) return ok ? "missed" : "caught";
  return ok ? "harmless" : "refused, not shown";
}

/** Of plans with counters only, and of plans with flags in the data. */
function judgeKind(kind: MutationKind): Record<Verdict, number> {
  const counts = { caught: 0, "refused, not shown": 0, harmless: 0, missed: 0 };
  const usual = forFlags.includes(kind)
    ? [] : fc.sample(mutatedPlans(plans({ maxOps: 5 }), [kind]), sitesPerKind);
  const flagged = fc.sample(mutatedPlans(flaggedPlans({ maxOps: 5 }), [kind]), flaggedSitesPerKind);
  for (const mutant of [...usual, ...flagged]) {
    const verdict = judge(mutant);
    counts[verdict]++;
    if (verdict === "missed") console.log(`missed: ${kind}`, JSON.stringify(mutant.mutated));
  }
  return counts;
}

const page = readFileSync(new URL("../../../docs/reliability.md", import.meta.url), "utf8");

describe("broken plans", () => {
  it("have a row each in docs/reliability.md", () => {
    const [, table = ""] = page.split("| broken in a plan |");
    const rows = [...(table.split("\n\n")[0] ?? "").matchAll(/^\| (?!-)(.*?) \|/gm)];
    expect(rows.map(([, kind]) => kind)).toEqual(mutationKinds);
  });

  const table: string[] = [];

  it.each(mutationKinds)("%s: nothing that shows is missed", (kind) => {
    const counts = judgeKind(kind);
    const parts = Object.entries(counts).map(([verdict, count]) => `${count} ${verdict}`);
    table.push(`${kind.padEnd(28)} ${parts.join(", ")}`);
    expect(counts.missed).toBe(0);
  });

  it("prints what was found", () => {
    console.log(`${sitesPerKind} sites of each kind, ${flaggedSitesPerKind} more with flags\n${table.join("\n")}`);
    expect(table).toHaveLength(mutationKinds.length);
  });
});
