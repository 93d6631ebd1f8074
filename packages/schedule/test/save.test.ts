/** @file Saved plans come back equal; whatever else comes in is refused by name. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { diffPlans, loadPlan, PlanFormatError, savePlan, verify } from "../src/index.ts";
import type { Plan } from "../src/index.ts";
import { plans } from "../src/testing/index.ts";
import { toyTable } from "../src/testing/toyTable.ts";

const [sample] = fc.sample(plans({ minSms: 3, maxSms: 3 }), { seed: 7, numRuns: 1 }) as [Plan];

/** The saved sample with one place of its JSON replaced. */
function spoil(path: readonly (string | number)[], value: unknown): string {
  const json = JSON.parse(savePlan(sample));
  let at = json;
  for (const key of path.slice(0, -1)) at = at[key];
  at[path[path.length - 1] ?? ""] = value;
  return JSON.stringify(json);
}

describe("saved plans", () => {
  it("come back equal, to the byte when saved again", () => {
    fc.assert(
      fc.property(plans({ maxSms: 12 }), (plan) => {
        const text = savePlan(plan);
        const loaded = loadPlan(text);
        expect(loaded).toEqual(plan);
        expect(savePlan(loaded)).toBe(text);
        expect(diffPlans(plan, loaded)).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });

  it("never crash the loader or the verifier, whatever number is changed", () => {
    const numeric = ["tasks", "order", "waits", "signals", "events"] as const;
    fc.assert(
      fc.property(
        plans(), fc.constantFrom(...numeric), fc.nat(), fc.nat(),
        fc.oneof(fc.integer(), fc.constantFrom(null, "x", 1.5, NaN)),
        (plan, key, which, index, value) => {
          const json = JSON.parse(savePlan(plan));
          const arrays = Object.values(json[key]).filter((entry) => Array.isArray(entry));
          const array = arrays[which % arrays.length] as unknown[];
          if (array.length === 0) return;
          array[index % array.length] = value;
          let loaded: Plan;
          try {
            loaded = loadPlan(JSON.stringify(json));
          } catch (error) {
            expect(error).toBeInstanceOf(PlanFormatError);
            return;
          }
          verify(loaded, toyTable);
        },
      ),
      { numRuns: 500 },
    );
  });

  it.each([
    ["not JSON", "{", /a saved plan is JSON text/],
    ["another format", spoil(["format"], "x"), /plan\.format: expected "mpk-plan", got "x"/],
    ["a part missing", spoil(["tasks", "op"], undefined), /plan\.tasks\.op: expected an array/],
    ["a wrong number", spoil(["tasks", "sm", 0], -1), /plan\.tasks\.sm\[0\]: expected a 32-bit/],
    ["a huge task count", spoil(["tasks", "count"], 1e12), /plan\.tasks\.count: expected \d+ entries/],
    ["a huge event count", spoil(["events", "count"], 1e9), /plan\.events\.count: expected \d+/],
    ["an SM beyond", spoil(["tasks", "sm", 0], 3), /task 0: sm 3 is outside of 0\.\.2/],
    ["a machine too large", spoil(["machine", "sms"], 300), /expected 1 to 256 SMs, got 300/],
    ["an unknown place", spoil(["placements", 0, "kind"], "disk"), /scratch, view, weight/],
    ["a broken program", spoil(["program", 0], "model"), /plan\.program: .*1:1/],
    ["an event beyond", spoil(["waits", "items", 0], 999), /waits\.items: entry 0 names event 999/],
  ])("are refused: %s", (_, text, message) => {
    expect(() => loadPlan(text)).toThrow(message);
  });

  it("differ readably", () => {
    const other = loadPlan(spoil(["events", "threshold", 0], 9));
    const threshold = sample.events.threshold[0];
    expect(diffPlans(sample, other)).toEqual([
      "events: 1 gone, 1 new",
      `  - event 0: threshold ${threshold}`,
      "  + event 0: threshold 9",
    ]);
  });
});

it("names a value of any size and depth in few words", () => {
  const deep = `${"[".repeat(1e5)}${"]".repeat(1e5)}`;
  const said = (machine: string) => () => loadPlan(`{"format": "mpk-plan", "version": ${machine}}`);
  expect(said(deep)).toThrow("plan.version: expected 1, got an array of 1");
  expect(said('{"a": 1}')).toThrow("plan.version: expected 1, got an object");
  expect(said(JSON.stringify("x".repeat(1e6)))).toThrow(/got "x{60}\.\.\."$/);
});
