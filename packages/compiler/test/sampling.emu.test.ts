/** @file The kernel's choice of a token, run on the CPU: exactly `chooseToken`'s of the same logits. */
import type { Program } from "@mpk/ir";
import { chooseToken } from "@mpk/ops/semantics";
import fc from "fast-check";
import { expect, test } from "vitest";
import { head, writer } from "../../cuda/test/emitted/programs.ts";
import { runEmulated } from "./emulated.ts";

function modelOf(vocabulary: number, block: number | null): Program {
  const w = writer("sampled", { maxTokens: 4, maxContext: 32 });
  return head(w, w.embed(Math.max(300, vocabulary), 64), vocabulary, block);
}
/** More and fewer tokens than threads, with block maxima and without. */
const programs = [modelOf(70, 64), modelOf(700, 64), modelOf(1500, null)];

const samplings = fc.record({
  temperature: fc.constantFrom(0.05, 0.7, 1, 2.5, 1e6),
  topK: fc.constantFrom(0, 1, 2, 5, 69, 70, 100, 255, 256, 257, 699, 5000),
  topP: fc.constantFrom(0, 1e-9, 0.1, 0.5, 0.95, 0.999999, 1),
  seed: fc.bigInt(0n, 2n ** 63n),
});
/** With many registers a thread, and with few. */
const targets = fc.constantFrom("sm_90a", "sm_80");
const promptIds = [1, 5, 3];
const maxTokens = 8;

test("temperature, top-k and top-p choose the tokens that the reference chooses", async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...programs), targets, samplings, async (program, target, sampling) => {
      const { tokens, summary } = await runEmulated({
        program, target, sampling, promptIds, maxTokens, sms: 2, scheduleSeed: 1,
      });
      expect(tokens).toHaveLength(maxTokens);
      expect(tokens).toEqual(summary.logits.map((row, i) =>
        chooseToken(row, sampling, promptIds.length - 1 + i)));
    }),
    { numRuns: 60 },
  );
}, 120_000);

test("no race", async () => {
  const [, program = modelOf(700, 64)] = programs;
  const { tokens } = await runEmulated({
    program, promptIds, maxTokens: 2, sms: 2, scheduleSeed: 5, instrument: "races",
    sampling: { temperature: 1, topK: 40, topP: 0.9, seed: 7n },
  });
  expect(tokens).toHaveLength(2);
}, 120_000);
