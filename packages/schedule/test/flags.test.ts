/** @file Flagged plans hold the laws, compute the right values, and show where they are broken. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { diffPlans, loadPlan, savePlan, verify } from "../src/index.ts";
import type { ScheduleTable } from "../src/index.ts";
import { noFlags } from "../src/planner/flags.ts";
import { computesReference, flaggedPlans, lawsHold, plans, toyWeights } from
  "../src/testing/index.ts";
import { toyTable } from "../src/testing/toyTable.ts";

const cases = 300;

describe("random flagged programs on random machines", () => {
  it("verify, and give the interpreter's values under random interleavings", () => {
    const seen = { values: 0, manyOnly: 0, events: 0, steps: 0 };
    const prompts = fc.array(fc.nat(8), { minLength: 2, maxLength: 6 });
    fc.assert(
      fc.property(flaggedPlans(), prompts, fc.integer(), (plan, prompt, seed) => {
        lawsHold(plan, toyTable);
        const trial = { weights: toyWeights(plan.program), prompt, maxNew: 3 };
        computesReference(plan, toyTable, trial, seed);
        seen.values += plan.flags.value.length;
        seen.manyOnly += plan.events.manyOnly.filter((x) => x === 1).length;
        seen.events += plan.events.count;
      }),
      { numRuns: cases },
    );
    console.log(`${cases} cases: ${seen.values} flagged values, ${seen.manyOnly} of ${seen.events} events many-only`);
    expect(seen.values).toBeGreaterThan(cases);
  });

  it("are refused by a table whose ops cannot do it", () => {
    const unable: ScheduleTable = new Map([...toyTable].map(([name, op]) => [
      name, { ...op, tiling: { ...op.tiling, flags: null } },
    ]));
    fc.assert(
      fc.property(flaggedPlans(), (plan) => {
        fc.pre(plan.flags.value.length > 0);
        const told = verify(plan, unable).laws.flatMap(({ violations }) => violations);
        const text = told.map(({ message }) => message).join("\n");
        expect(text).toMatch(/input \d is the flagged \S+, but its tasks cannot poll it/);
        expect(text).toMatch(/is flagged, but its tasks cannot store it word by word/);
      }),
      { numRuns: 30 },
    );
  });

  it("leave plans by counters as they are", () => {
    fc.assert(
      fc.property(plans(), (plan) => {
        expect(plan.flags).toEqual(noFlags);
        expect(plan.events.manyOnly).not.toContain(1);
        expect(savePlan(plan)).not.toMatch(/flags|manyOnly/);
      }),
      { numRuns: 30 },
    );
  });

  it("come back from text as they were", () => {
    fc.assert(
      fc.property(flaggedPlans(), (plan) => {
        const text = savePlan(plan);
        const loaded = loadPlan(text);
        expect([...loaded.flags.value]).toEqual([...plan.flags.value]);
        expect(diffPlans(plan, loaded)).toEqual([]);
        expect(savePlan(loaded)).toBe(text);
      }),
      { numRuns: 50 },
    );
  });
});
