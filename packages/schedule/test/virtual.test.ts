/** @file The virtual GPU by example: one launch or many, either precision, and how it fails. */
import { createInterpreter } from "@mpk/ir";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createVirtualGpu, machines, plan, VirtualGpuError } from "../src/index.ts";
import type { Plan, RunRequest, RunStep } from "../src/index.ts";
import {
  buildProgram, computesReference, plans, toySemantics, toyTable, toyWeights,
} from "../src/testing/index.ts";

const program = buildProgram({
  hidden: 40, vocabulary: 20, maxTokens: 3,
  ops: [
    { kind: "matmul", from: 0, size: 4, flavor: 5 },
    { kind: "mix", from: 1, size: 1, flavor: 0 },
    { kind: "fold", from: 2, size: 1, flavor: 3 },
  ],
});
const options = { consumerWarps: 2, stages: 4, stageBytes: 1024, maxInFlight: 2, pageTokens: 4 };
const made = plan(program, toyTable, { ...machines.h200, name: "three", sms: 3 }, options);
const weights = toyWeights(program);

function runAll(request: RunRequest, of: Plan = made): readonly RunStep[] {
  const gpu = createVirtualGpu(of, toyTable, { weights, precision: "bf16", interleave: "none" });
  return [...gpu.run(request)];
}

const tokensOf = (steps: readonly RunStep[]): readonly number[] =>
  steps.flatMap(({ token }) => (token === null ? [] : [token]));

describe("a run", () => {
  it("gives the same values for every seed, chunk of prompt and precision of exact numbers", () => {
    const prompt = [1, 2, 3, 4, 5];
    fc.assert(
      fc.property(plans(), fc.integer({ min: 1, max: 3 }), fc.nat(), (any, chunk, seed) => {
        const promptChunk = Math.min(chunk, any.program.limits.maxTokens);
        for (const precision of ["bf16", "f32"] as const) {
          const source = toyWeights(any.program);
          const trial = { weights: source, prompt, maxNew: 2, precision, promptChunk };
          expect(computesReference(any, toyTable, trial, seed)).toBe(true);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("reads the prompt in chunks, then generates token by token", () => {
    const steps = runAll({ prompt: [1, 2, 3, 4], maxNew: 3 });
    expect(steps.map(({ tokens }) => tokens)).toEqual([3, 1, 1, 1]);
    expect(steps.map(({ token }) => token === null)).toEqual([true, false, false, false]);
    const one = runAll({ prompt: [1, 2, 3, 4], maxNew: 3, promptChunk: 1 });
    expect(one).toHaveLength(6);
    expect(tokensOf(one)).toEqual(tokensOf(steps));
  });

  it("ends at an end-of-sequence id and at the end of the context", () => {
    const [first = 0] = tokensOf(runAll({ prompt: [1], maxNew: 5 }));
    expect(tokensOf(runAll({ prompt: [1], maxNew: 5, eos: [first] }))).toEqual([first]);
    const steps = runAll({ prompt: [1], maxNew: 1000 });
    expect(steps.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(program.limits.maxContext);
  });

  it("gives step by step, in launches of their own, what one launch gives", () => {
    const steps = runAll({ prompt: [5, 6], maxNew: 4 });
    const gpu = createVirtualGpu(made, toyTable, { weights, precision: "bf16", seed: 3 });
    const interpreter = createInterpreter(program, toySemantics, { weights, precision: "bf16" });
    let ids: readonly number[] = [5, 6];
    for (const { outputs } of steps) {
      const alone = gpu.step({ ids });
      expect(alone.outputs).toEqual(outputs);
      expect(alone.outputs).toEqual(interpreter.step({ ids }).outputs);
      ids = [alone.outputs["token"]?.data[0] ?? -1];
    }
    expect(gpu.length).toBe(5);
    gpu.reset();
    expect(gpu.step({ ids: [5, 6] }).outputs).toEqual(steps[0]?.outputs);
  });
});

describe("what goes wrong", () => {
  const raised = made.events.threshold.map((x) => x + 1);

  it("hangs with SM, task, event, expected and seen counts", () => {
    const broken = { ...made, events: { ...made.events, threshold: raised } };
    let error: unknown;
    try {
      runAll({ prompt: [1], maxNew: 1 }, broken);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(VirtualGpuError);
    const { hang, message } = error as VirtualGpuError;
    expect(message).toMatch(/task \d+, .* on SM \d, step 0: hangs waiting for event \d+, expected/);
    expect(hang?.expected).toBe(raised[hang?.event ?? -1]);
    expect(hang?.seen).toBe((hang?.expected ?? 0) - 1);
  });

  it("names a chunk that never comes", () => {
    const broken = { ...made, streams: made.streams.map(() => []) };
    expect(() => runAll({ prompt: [1], maxNew: 1 }, broken)).toThrow(
      /hangs waiting for a chunk of its stream/,
    );
  });

  it.each<[string, () => unknown, RegExp]>([
    ["an id out of range", () => runAll({ prompt: [20], maxNew: 1 }), /row 20 of a weight of 20/],
    ["too many ids", () => createVirtualGpu(made, toyTable, { weights, precision: "bf16" })
      .step({ ids: [1, 2, 3, 4] }), /a step takes 1 to 3 tokens, got 4/],
    ["a malformed plan", () => runAll({ prompt: [1], maxNew: 1 }, { ...made, placements: [] }),
      /the plan is malformed: placements: expected one per value/],
  ])("is refused: %s", (_, attempt, message) => {
    expect(attempt).toThrow(VirtualGpuError);
    expect(attempt).toThrow(message);
  });
});
