/** @file Plans of random programs on random machines hold the laws and compute the right values. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { computesReference, lawsHold, plans, toyWeights } from "../src/testing/index.ts";
import { toyTable } from "../src/testing/toyTable.ts";

const cases = 2000;

describe("random programs on random machines", () => {
  it("verify, and give the interpreter's values under random interleavings", () => {
    const seen = new Map<string, number>();
    const tally = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1);
    const prompts = fc.array(fc.nat(8), { minLength: 2, maxLength: 5 });
    fc.assert(
      fc.property(plans(), prompts, fc.integer(), (plan, prompt, seed) => {
        const { program, machine, streams } = plan;
        lawsHold(plan, toyTable);
        const trial = { weights: toyWeights(program), prompt, maxNew: 2 };
        computesReference(plan, toyTable, trial, seed);
        expect(program.ops.length).toBeGreaterThanOrEqual(3);
        expect(streams.flat().length).toBeGreaterThan(0);
        tally(`${machine.sms} SMs`);
        tally(`${Math.ceil(prompt.length / program.limits.maxTokens) + 1} steps`);
        tally(`${program.ops.length} ops`.padStart(6));
        tally(`${program.states.length > 0 ? "with" : "without"} KV`);
      }),
      { numRuns: cases },
    );
    const counts = [...seen].sort(([a], [b]) => a.localeCompare(b)).map(([what, count]) => `${what.trim()}: ${count}`);
    console.log(`${cases} cases, each with a stream; ${counts.join(", ")}`);
  });

  it("hold on any machine of 1 to 256 SMs", () => {
    fc.assert(
      fc.property(plans({ minSms: 1, maxSms: 256 }), (plan) => lawsHold(plan, toyTable)),
      { numRuns: 100 },
    );
  });
});
