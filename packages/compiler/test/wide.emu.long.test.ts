/** @file Steps of many tokens on the emulated GPU: more sizes, targets, thread orders, families. */
import { describe, expect, test } from "vitest";
import { linears } from "../../cuda/test/emitted/programs.ts";
import { decoder, paths, prompt } from "./emulated-programs.ts";
import { expectSame, planOf } from "./emulated.ts";
import { expectGolden, families } from "./goldens.ts";

const minutes = 60_000;

/** Most tokens of a step, prompt, columns, SMs, thread order. */
const sizes = [
  [9, 9, 96, 1, 0], [16, 16, 600, 3, 1], [17, 40, 37, 2, 2], [32, 32, 1030, 2, 3], [64, 1, 600, 1, 4],
  [64, 5, 600, 2, 5], [64, 33, 2080, 3, 6], [64, 64, 600, 1, 7], [50, 90, 288, 5, 8],
] as const;

describe.each(paths)("%s, as the virtual GPU computes it", (target) => {
  test.each(sizes)("linears of %i tokens, a prompt of %i, %i columns", async (
    most, tokens, columns, sms, scheduleSeed,
  ) => {
    const [program, promptIds] = [linears(most, columns), prompt(tokens)];
    await expectSame({ program, target, sms, promptIds, maxTokens: 2, scheduleSeed });
  }, 5 * minutes);

  test.each(sizes)("a decoder, %i tokens, a prompt of %i", async (
    most, tokens, _columns, sms, scheduleSeed,
  ) => {
    const [program, promptIds] = [decoder(most, 16), prompt(tokens)];
    await expectSame({ program, target, sms, promptIds, maxTokens: 3, scheduleSeed });
  }, 5 * minutes);
});

test("another number of consumer warps, and a ring that is soon full", async () => {
  for (const [consumerWarps, stages, most] of [[4, 8, 64], [6, 12, 16], [2, 8, 32]] as const) {
    const options = { consumerWarps, stages, maxInFlight: 3 };
    const c = { program: decoder(most, 16), sms: 1, planOptions: options, promptIds: prompt(70) };
    expect(planOf(c).ring).toMatchObject({ consumerWarps, stages });
    await expectSame({ ...c, maxTokens: 2, scheduleSeed: 9 });
  }
}, 5 * minutes);

test.each(families)("%s in steps of 16 and of 64 tokens, as transformers computes it", async (
  family,
) => {
  for (const maxTokens of [16, 64]) {
    await expectGolden(family, 2e-2, { device: "emulated", sms: 4, maxTokens });
  }
}, minutes);
