/** @file Every family against Hugging Face transformers, on the same weights. */
import { createInterpreter, runPasses } from "@mpk/ir";
import type { Precision, Program } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops/semantics";
import { describe, expect, it } from "vitest";
import { families, modelFromConfig, readConfig } from "@mpk/models";
import { goldens, largestError, relativeError } from "./golden.ts";
import type { Golden } from "./golden.ts";

interface Run {
  /** By the number of prompt tokens that a step ended at. */
  readonly prompt: ReadonlyMap<number, ArrayLike<number>>;
  /** After each golden token but the last, which are fed whatever was chosen. */
  readonly steps: readonly ArrayLike<number>[];
  readonly chosen: readonly number[];
}

/** Runs the prompt in steps of up to `size` tokens, then the golden's tokens one by one. */
function run(program: Program, golden: Golden, precision: Precision, size: number): Run {
  const { weights, promptIds, greedyIds } = golden;
  const interpreter = createInterpreter(program, semanticsTable, { weights, precision });
  const prompt = new Map<number, ArrayLike<number>>();
  const [steps, chosen]: [ArrayLike<number>[], number[]] = [[], []];
  for (let at = 0; at < promptIds.length; at += size) {
    const { outputs } = interpreter.step({ ids: promptIds.slice(at, at + size) });
    prompt.set(Math.min(at + size, promptIds.length), outputs["logits"]?.data ?? []);
    if (at + size >= promptIds.length) chosen.push(outputs["token"]?.data[0] ?? -1);
  }
  for (const id of greedyIds.slice(0, -1)) {
    const { outputs } = interpreter.step({ ids: [id] });
    steps.push(outputs["logits"]?.data ?? []);
    chosen.push(outputs["token"]?.data[0] ?? -1);
  }
  return { prompt, steps, chosen };
}

const reference = (golden: Golden, tokens: number): Float32Array =>
  golden.promptLogits[tokens - 1] ?? new Float32Array();

/** Tokens must be the golden's wherever the gap of the two best exceeds the error made there. */
function checkTokens(golden: Golden, { prompt, steps, chosen }: Run): void {
  const rows = [prompt.get(golden.promptIds.length) ?? [], ...steps];
  rows.forEach((row, i) => {
    const error = largestError(row, golden.stepLogits[i] ?? new Float32Array());
    if ((golden.topGaps[i] ?? 0) > error) expect(chosen[i]).toBe(golden.greedyIds[i]);
  });
}

it("covers every family", () => {
  const covered = new Set(goldens.map(({ config }) => readConfig(config).family));
  expect(covered).toEqual(new Set(families.map(({ name }) => name)));
});

describe.each(goldens)("$name", (golden) => {
  const program = modelFromConfig(golden.config);

  it("uses every tensor of the checkpoint, each once", () => {
    const used = program.weights.flatMap(({ parts }) => parts.map(({ tensor }) => tensor));
    expect(used.toSorted()).toEqual(golden.tensors.toSorted());
  });

  const passed = runPasses(program, semanticsTable);
  const variants = [
    ["as written", 1, program], ["as written", 8, program], ["after the passes", 8, passed],
  ] as const;

  it.each(variants)("is transformers' float32 result at every row, %s, %i tokens a step", (
    _what, size, variant,
  ) => {
    const { prompt, steps, chosen } = run(variant, golden, "f32", size);
    for (const [tokens, row] of prompt) {
      expect(relativeError([row], [reference(golden, tokens)])).toBeLessThan(1e-5);
    }
    steps.forEach((row, i) => {
      expect(relativeError([row], [golden.stepLogits[i + 1]!])).toBeLessThan(1e-5);
    });
    expect(chosen).toEqual(golden.greedyIds);
  });

  it("is as close in bf16 as transformers' own bf16 run, and chooses the same tokens", () => {
    const single = run(program, golden, "bf16", 1);
    const last = golden.promptIds.length;
    for (const result of [single, ...[program, passed].map((p) => run(p, golden, "bf16", 8))]) {
      const row = result.prompt.get(last) ?? [];
      expect(relativeError([row], [reference(golden, last)])).toBeLessThan(2e-2);
      expect(relativeError(result.steps, golden.stepLogits.slice(1))).toBeLessThan(2e-2);
      checkTokens(golden, result);
    }
    const ours = relativeError([...single.prompt.values()], golden.promptLogits);
    const theirs = relativeError(golden.bf16PromptLogits, golden.promptLogits);
    expect(ours).toBeLessThan(1.1 * theirs);
  });
});
