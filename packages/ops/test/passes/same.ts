/** @file Runs a Program before and after a pass, and compares what every step gives. */
import { expect } from "vitest";
import { createInterpreter } from "@mpk/ir";
import type { Precision, Program, StepResult } from "@mpk/ir";
import { semanticsTable } from "../../src/semantics.ts";
import { randomWeights } from "./decoder.ts";

type Outputs = StepResult["outputs"];

/** Rows of the table that an embedding looks ids up in. */
function vocabularyOf(program: Program): number {
  const table = program.ops.find((op) => op.kind === "embedding")?.inputs[1];
  return Number(program.values[table!]!.type.shape[0]);
}

/** Outputs of three steps: a prompt of two tokens, then one token, then the rest. */
function run(
  program: Program,
  seed: number,
  ids: readonly number[],
  precision: Precision,
): readonly Outputs[] {
  const weights = randomWeights(program, seed);
  const interpreter = createInterpreter(program, semanticsTable, { weights, precision });
  const tokens = ids.map((id) => id % vocabularyOf(program));
  const steps = [tokens.slice(0, 2), tokens.slice(2, 3), tokens.slice(3, 7)];
  return steps.map((step) => interpreter.step({ ids: step }).outputs);
}

/** Outputs agree within 1e-5 in relative L2, at both precisions: no cast has moved. */
export function expectSameResults(
  before: Program,
  after: Program,
  seed: number,
  ids: readonly number[],
): void {
  for (const precision of ["f32", "bf16"] as const) {
    const results = run(after, seed, ids, precision);
    run(before, seed, ids, precision).forEach((outputs, step) => {
      expect(Object.keys(results[step]!)).toEqual(Object.keys(outputs));
      for (const [name, expected] of Object.entries(outputs)) {
        const got = results[step]![name]!;
        expect(got.shape).toEqual(expected.shape);
        const norm = Math.hypot(...expected.data);
        const error = Math.hypot(...got.data.map((x, i) => x - expected.data[i]!));
        expect(error, `${name}, step ${step}, ${precision}`).toBeLessThanOrEqual(1e-5 * norm);
      }
    });
  }
}
