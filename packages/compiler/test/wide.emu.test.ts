/** @file Steps of many tokens on the emulated GPU, as the virtual GPU computes them. */
import { expect, test } from "vitest";
import { linears, passed } from "../../cuda/test/emitted/programs.ts";
import { decoder, prompt } from "./emulated-programs.ts";
import { expectSame } from "./emulated.ts";

test("linears in every form, a prompt of 33 tokens at once", async () => {
  const program = linears(64, 600);
  await expectSame({ program, sms: 1, promptIds: prompt(33), maxTokens: 2, scheduleSeed: 1 });
}, 120_000);

test("the same, rows normed once for all SMs, no race", async () => {
  const program = passed(linears(64, 600));
  expect(program.ops.some(({ kind }) => kind === "blockSquares")).toBe(true);
  await expectSame({
    program, sms: 2, promptIds: prompt(41), maxTokens: 2, scheduleSeed: 3, instrument: "races",
  });
}, 240_000);

test("more slices of x than have room at once, no race", async () => {
  const program = passed(linears(16, 4096));
  await expectSame({
    program, sms: 2, promptIds: prompt(19), maxTokens: 2, scheduleSeed: 4, instrument: "races",
  });
}, 240_000);

test("a decoder whose attention rounds, no race", async () => {
  const program = decoder(16, 32);
  expect(program.ops.filter(({ kind }) => kind === "cast")).toEqual([]);
  await expectSame({
    program, sms: 3, promptIds: prompt(40), maxTokens: 3, scheduleSeed: 6, instrument: "races",
  });
}, 240_000);

test.each([
  [64, 131, 16, "sm_120"], [16, 27, 32, "sm_80"],
])("a decoder, at most %i tokens a step, a prompt of %i, heads of %i, for %s", async (
  most, tokens, headDim, target,
) => {
  const [program, promptIds] = [decoder(most, headDim), prompt(tokens)];
  await expectSame({ program, target, sms: 2, promptIds, maxTokens: 3, scheduleSeed: 2 });
}, 120_000);
