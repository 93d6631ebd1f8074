/** @file shareNorms: linears multiply rows that were normed once, and give what they gave before. */
import { createInterpreter, defaultPasses, passesOfSteps, runPasses } from "@mpk/ir";
import type { Program } from "@mpk/ir";
import { scheduleTable, semanticsTable } from "@mpk/ops";
import { createVirtualGpu, plan, verify, virtual } from "@mpk/schedule";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { buildDecoder, decoderForms, plainForm, randomWeights } from "./decoder.ts";
import type { DecoderForm } from "./decoder.ts";

const steps = [20, 1, 9].map((length, step) =>
  Array.from({ length }, (_, i) => (i * 7 + step * 13) % 5));

/** Rows of whole pieces, and steps of many tokens. */
function built(form: DecoderForm): Program {
  const wide = { ...form, hidden: 8 * form.hidden, ffn: 8 * form.ffn, vocabulary: 5 + form.vocabulary };
  return { ...buildDecoder(wide), limits: { maxTokens: 20, maxContext: 64 } };
}

const passed = (program: Program): Program =>
  runPasses(program, semanticsTable, passesOfSteps(program.limits));

function errorOf(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  const numbers = Array.from(expected);
  return Math.hypot(...numbers.map((x, i) => x - (got[i] ?? NaN))) / Math.hypot(...numbers);
}

describe("shareNorms", () => {
  it("changes no logits but by rounding, by meaning and on the virtual GPU", () => {
    let shared = 0;
    fc.assert(
      fc.property(decoderForms, fc.integer({ min: 1, max: 5 }), fc.integer(), (form, sms, seed) => {
        const program = built(form);
        const after = passed(program);
        shared += Number(after.ops.some(({ kind }) => kind === "blockSquares"));
        const own = plan(after, scheduleTable, virtual(sms));
        expect(verify(own, scheduleTable).ok).toBe(true);
        const options = { weights: randomWeights(program, seed), precision: "f32" } as const;
        const whole = createInterpreter(program, semanticsTable, options);
        const runs = [
          createInterpreter(own.program, semanticsTable, options),
          createVirtualGpu(own, scheduleTable, options),
        ];
        for (const ids of steps) {
          const expected = whole.step({ ids }).outputs["logits"]!.data;
          for (const run of runs) {
            const got = run.step({ ids }).outputs["logits"]!.data;
            expect(errorOf(got, expected)).toBeLessThan(1e-4);
          }
        }
      }),
      { numRuns: 25 },
    );
    expect(shared).toBeGreaterThan(3);
  });

  it("norms rows once for all linears that read them, and leaves the last row's to its linear", () => {
    const { ops } = passed(built(plainForm));
    const count = (wanted: string): number => ops.filter(({ kind }) => kind === wanted).length;
    expect([count("blockSquares"), count("pointwise"), count("rmsNorm")]).toEqual([2, 2, 0]);
    const norms = ops.filter(({ kind }) => kind === "linear").map(({ attrs }) => attrs["norm"]);
    expect(norms).toMatchObject([{ kind: "squares" }, null, { kind: "squares" }, null, { kind: "rms" }]);
  });

  it("has attention round what linears read, without a cast between them", () => {
    const { ops, values } = passed(built(plainForm));
    const attention = ops.find(({ kind }) => kind === "attention");
    expect(values[attention?.outputs[0] ?? -1]?.type.dtype).toBe("bf16");
    expect(ops.filter(({ kind }) => kind === "cast")).toEqual([]);
  });

  it("is for steps of many tokens alone", () => {
    expect(passesOfSteps({ maxTokens: 8, maxContext: 64 })).toBe(defaultPasses);
  });
});
