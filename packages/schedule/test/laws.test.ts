/** @file Plans of random programs on random machines hold the laws and compute the right values. */
import { createInterpreter } from "@mpk/ir";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createVirtualGpu, verify } from "../src/index.ts";
import type { Plan } from "../src/index.ts";
import { plans } from "../src/testing/plans.ts";
import { toySemantics, toyWeights } from "../src/testing/programs.ts";
import { toyTable } from "../src/testing/toyTable.ts";

const cases = 2000;

interface Outcome {
  readonly logits: readonly number[];
  readonly tokens: readonly (number | null)[];
}

/** Prompt and generation on the virtual GPU, in one launch. */
function scheduled(plan: Plan, prompt: readonly number[], maxNew: number, seed: number): Outcome {
  const weights = toyWeights(plan.program);
  const gpu = createVirtualGpu(plan, toyTable, { weights, precision: "bf16", seed });
  const steps = [...gpu.run({ prompt, maxNew })];
  return {
    logits: steps.flatMap(({ outputs }) => [...(outputs["logits"]?.data ?? [])]),
    tokens: steps.map(({ token }) => token),
  };
}

/** The same by the reference interpreter. */
function reference(plan: Plan, prompt: readonly number[], maxNew: number): Outcome {
  const weights = toyWeights(plan.program);
  const interpreter = createInterpreter(plan.program, toySemantics, {
    weights, precision: "bf16",
  });
  const { maxTokens } = plan.program.limits;
  const logits: number[] = [];
  const tokens: (number | null)[] = [];
  let fed = 0;
  let next: readonly number[] = prompt.slice(0, maxTokens);
  while (tokens.filter((token) => token !== null).length < maxNew) {
    const { outputs } = interpreter.step({ ids: next });
    fed += next.length;
    logits.push(...(outputs["logits"]?.data ?? []));
    const token = outputs["token"]?.data[0] ?? -1;
    const reading = fed < prompt.length;
    tokens.push(reading ? null : token);
    next = reading ? prompt.slice(fed, fed + maxTokens) : [token];
  }
  return { logits, tokens };
}

describe("random programs on random machines", () => {
  it("verify, and give the interpreter's values under random interleavings", () => {
    const seen = new Map<string, number>();
    const tally = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1);
    fc.assert(
      fc.property(
        plans(), fc.array(fc.nat(8), { minLength: 1, maxLength: 4 }), fc.integer(),
        (plan, prompt, seed) => {
          const report = verify(plan, toyTable);
          expect(report.laws.flatMap(({ violations }) => violations)).toEqual([]);
          const maxNew = Math.max(1, 3 - Math.ceil(prompt.length / plan.program.limits.maxTokens));
          const got = scheduled(plan, prompt, maxNew + 1, seed);
          expect(got).toEqual(reference(plan, prompt, maxNew + 1));
          tally(`${plan.machine.sms} SMs`);
          tally(`${got.tokens.length} steps`);
          tally(`${plan.program.ops.length} ops`);
          tally(plan.streams.some((s) => s.length > 0) ? "with a stream" : "without a stream");
          tally(plan.program.states.length > 0 ? "with KV" : "without KV");
        },
      ),
      { numRuns: cases },
    );
    console.log(`${cases} cases: ${[...seen].sort().map(([k, v]) => `${k} ${v}`).join(", ")}`);
    expect(seen.get("without a stream")).toBeUndefined();
  });
});
