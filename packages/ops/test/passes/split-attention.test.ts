/** @file splitAttention: the same result from two ops, planned, proven and run on the virtual GPU. */
import {
  createInterpreter, defaultPasses, roundToBf16, runPasses, splitAttention,
} from "@mpk/ir";
import type { Program, WeightSource } from "@mpk/ir";
import { scheduleTable, semanticsTable } from "@mpk/ops";
import { createVirtualGpu, plan, verify, virtual } from "@mpk/schedule";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { attention, head, linear, writer } from "../../../cuda/test/emitted/programs.ts";
import type { AttentionForm } from "../../../cuda/test/emitted/programs.ts";
import { randomFrom } from "../bench.ts";

const forms: fc.Arbitrary<AttentionForm> = fc
  .record({
    kvHeads: fc.integer({ min: 1, max: 3 }),
    group: fc.integer({ min: 1, max: 5 }),
    headDim: fc.constantFrom(16, 48),
    window: fc.option(fc.integer({ min: 1, max: 60 })),
    qkNorm: fc.boolean(),
  })
  .map(({ kvHeads, group, ...rest }) => ({ ...rest, kvHeads, heads: kvHeads * group }));

/** Logits over one attention, before passes. */
function attending(form: AttentionForm, maxContext = 96): Program {
  const w = writer("attending", { maxTokens: 20, maxContext });
  const x = linear(w, "qkv", w.embed(50, 32), (form.heads + 2 * form.kvHeads) * form.headDim);
  return head(w, linear(w, "o", w.cast(attention(w, x, form)), 32), 50);
}

const split = (program: Program, sms: number): Program =>
  runPasses(program, semanticsTable, [...defaultPasses, splitAttention(sms)]);

/** Rows and columns of every weight seen so far. */
const shapes = new Map<string, readonly [number, number]>();

const weights: WeightSource = (name) => {
  const random = randomFrom(name.length);
  const [rows, columns] = shapes.get(name) ?? [1, 1];
  const data = Float32Array.from({ length: rows * columns }, () => (random() - 0.5) / 2);
  return { shape: columns === 1 ? [rows] : [rows, columns], data: roundToBf16(data) };
};

function remember({ weights: all, values }: Program): void {
  for (const { value, parts } of all) {
    const columns = Number(values[value]?.type.shape[1] ?? 1);
    for (const { tensor, rows } of parts) shapes.set(tensor, [rows, columns]);
  }
}

const steps = [20, 1, 15, 1].map((length, step) =>
  Array.from({ length }, (_, i) => (i * 7 + step * 13) % 50));

describe("splitAttention", () => {
  it("changes no logits, by meaning and on any number of virtual SMs", () => {
    fc.assert(
      fc.property(forms, fc.integer({ min: 1, max: 9 }), (form, sms) => {
        const program = attending(form);
        remember(program);
        const own = plan(split(program, sms), scheduleTable, virtual(sms));
        expect(verify(own, scheduleTable).ok).toBe(true);
        const options = { weights, precision: "f32" } as const;
        const whole = createInterpreter(program, semanticsTable, options);
        const runs = [
          createInterpreter(own.program, semanticsTable, options),
          createVirtualGpu(own, scheduleTable, options),
        ];
        for (const ids of steps) {
          const expected = whole.step({ ids }).outputs["logits"]!.data;
          for (const run of runs) {
            const got = run.step({ ids }).outputs["logits"]!.data;
            got.forEach((x, i) => expect(x).toBeCloseTo(expected[i]!, 4));
          }
        }
      }),
      { numRuns: 8 },
    );
  });

  it("gives every SM about one part, but no more splits than the context has units", () => {
    const form = { heads: 8, kvHeads: 2, headDim: 16 };
    const splitsFor = (sms: number, maxContext: number) =>
      split(attending(form, maxContext), sms).ops
        .filter(({ kind }) => kind === "attentionPart")
        .map(({ attrs }) => attrs["splits"]);
    expect(splitsFor(132, 4096)).toEqual([64]);
    expect(splitsFor(40, 4096)).toEqual([20]);
    expect(splitsFor(132, 96)).toEqual([3]);
    expect(splitsFor(1, 4096)).toEqual([1]);
  });
});
