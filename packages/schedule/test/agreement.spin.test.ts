/** @file The verifier and SPIN say the same of small plans, sound ones and broken ones. */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { add, bench, broken, kinds, line, newTally, smallPlans } from "./agreement.ts";

const plansCount = 60;
const perKind = 12;
const small = smallPlans(3, 4);

describe("verifier and SPIN", () => {
  const both = bench();
  afterAll(() => both.dispose());
  const lines: string[] = [];

  it("accept the same plans", () => {
    const tally = newTally();
    const plans = fc.sample(small, { numRuns: plansCount, seed: 1 });
    both.judge(plans).forEach((opinion, i) => add(tally, opinion, plans[i], "planned"));
    lines.push(line("as planned", tally));
    expect(tally["agreed good"]).toBe(plansCount);
  });

  it("refuse the same broken plans, but for laws that need not show", () => {
    const sum = newTally();
    for (const kind of kinds) {
      const tally = newTally();
      const plans = broken(kind, perKind, 1, small);
      both.judge(plans).forEach((opinion, i) => {
        add(tally, opinion, plans[i], kind);
        add(sum, opinion, plans[i], kind);
      });
      lines.push(line(kind, tally));
    }
    lines.push(line("all broken", sum));
    console.log(lines.join("\n"));
    expect(sum["agreed bad"]).toBeGreaterThan((perKind * kinds.length) / 2);
  });
});
