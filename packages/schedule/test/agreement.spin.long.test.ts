/** @file The verifier and SPIN say the same of thousands of plans, of more ops, SMs and steps. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { renderLoader, tableText } from "../src/promela/render.ts";
import { planTables } from "../src/promela/tables.ts";
import type { PlanTables } from "../src/promela/tables.ts";
import { compileSpin, mutatedPlans, toyTable } from "../src/testing/index.ts";
import { compare, counterPlans, flagPlans } from "./agreement.ts";

describe("verifier and SPIN agree", () => {
  it("on plans of counters", () => {
    const plans = counterPlans({ maxOps: 4, minSms: 2, maxSms: 3 }, 16);
    const all = compare({ name: "counters", steps: 2, plans, sound: 600, perKind: 60, seed: 11 });
    expect(all["agreed bad"]).toBeGreaterThan(600);
  });

  it("on plans of counters over three steps", () => {
    const plans = counterPlans({ maxOps: 2, minSms: 2, maxSms: 3 }, 10);
    const all = compare({ name: "counters", steps: 3, plans, sound: 200, perKind: 20, seed: 12 });
    expect(all["agreed bad"]).toBeGreaterThan(200);
  });

  it("on plans of counters on four SMs", () => {
    const plans = counterPlans({ maxOps: 2, minSms: 4, maxSms: 4 }, 12);
    const all = compare({ name: "counters", steps: 2, plans, sound: 40, perKind: 6, seed: 13 });
    expect(all["agreed bad"]).toBeGreaterThan(60);
  });

  it("on plans with flags in the data", () => {
    const plans = flagPlans({ maxOps: 3, minSms: 2, maxSms: 2 }, 12);
    const all = compare({ name: "flags", steps: 3, plans, sound: 150, perKind: 25, seed: 14 });
    expect(all["agreed bad"]).toBeGreaterThan(300);
  });

  it("on plans with flags in the data on three SMs", () => {
    const plans = flagPlans({ maxOps: 2, minSms: 3, maxSms: 3 }, 9);
    const all = compare({ name: "flags", steps: 3, plans, sound: 20, perKind: 3, seed: 15 });
    expect(all["agreed bad"]).toBeGreaterThan(30);
  });
});

describe("the model", () => {
  it("says the same when tasks that do not touch the watched cell are run one by one", () => {
    const steps = 2;
    const model = compileSpin(
      renderLoader({ sms: 4, events: 24, history: 32, writers: 24 }, steps, 8000),
    );
    const sizes = { maxOps: 3, minSms: 2, maxSms: 3 };
    const from = fc.oneof(counterPlans(sizes, 12), flagPlans({ ...sizes, maxSms: 2 }, 8));
    const sound = fc.sample(from, { numRuns: 60, seed: 16 });
    const broken = fc.sample(mutatedPlans(from), { numRuns: 240, seed: 17 });
    const tables = [...sound, ...broken.map(({ mutated }) => mutated)].map((plan) =>
      planTables(plan, toyTable, steps),
    );
    const oneByOne = (made: PlanTables): PlanTables => {
      const counts = made.arrays["counts"] ?? [];
      return { ...made, arrays: { ...made.arrays, counts: [...counts.slice(0, -1), 0] } };
    };
    const merged = model.search(tables.map(tableText));
    const plain = model.search(tables.map((made) => tableText(oneByOne(made))));
    model.dispose();
    expect(merged.map(({ error }) => error === null)).toEqual(
      plain.map(({ error }) => error === null),
    );
    expect(plain.reduce((sum, { states }) => sum + states, 0)).toBeGreaterThan(
      merged.reduce((sum, { states }) => sum + states, 0),
    );
  });
});
