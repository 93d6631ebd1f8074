/** @file The verifier and SPIN say the same of hundreds of small plans, sound ones and broken ones. */
import { describe, expect, it } from "vitest";
import { compare, counterPlans, flagPlans } from "./agreement.ts";

/** Searches share the machine with other tests. */
const timeout = 240_000;

describe("verifier and SPIN agree", { timeout }, () => {
  it("on plans of counters", () => {
    const plans = counterPlans({ maxOps: 3, minSms: 2, maxSms: 3 }, 12);
    const all = compare({ name: "counters", steps: 2, plans, sound: 60, perKind: 8, seed: 1 });
    expect(all["agreed bad"]).toBeGreaterThan(80);
    for (const law of ["races", "deadlock", "streams", "memory"] as const) {
      expect(all.alone.get(law) ?? 0, `plans that break ${law} alone`).toBeGreaterThan(0);
    }
  });

  it("on plans with flags in the data", () => {
    const plans = flagPlans({ maxOps: 2, minSms: 2, maxSms: 2 }, 8);
    const all = compare({ name: "flags", steps: 3, plans, sound: 16, perKind: 4, seed: 1 });
    expect(all["agreed bad"]).toBeGreaterThan(50);
  });
});
