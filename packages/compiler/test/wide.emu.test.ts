/** @file Steps of many tokens on the emulated GPU, as the virtual GPU computes them. */
import { expect, test } from "vitest";
import { head, linear, linears, passed, writer } from "../../cuda/test/emitted/programs.ts";
import { decoder, prompt } from "./emulated-programs.ts";
import { expectSame, planOf } from "./emulated.ts";

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

test.each([
  [6144, 2, 24], [4608, 3, 18], [600, 2, 3],
])("tasks of few tiles, x in registers, no race: %i columns on %i SMs", async (columns, sms, chunks) => {
  const w = writer("few tiles", { maxTokens: 16, maxContext: 64 });
  const x = w.embed(300, 96);
  const up = linear(w, "up", x, columns, { groups: 2, norm: "rms", epilogue: "a0 * a1", out: "bf16" });
  const down = linear(w, "down", up, 96, { epilogue: "a0 + a1", extras: [x] });
  const program = passed(head(w, linear(w, "last", down, 72, { norm: "rms" }), 40));
  expect(planOf({ program, sms }).layouts.map((layout) => layout?.chunksPerTile)).toContain(chunks);
  await expectSame({ program, sms, promptIds: prompt(29), maxTokens: 2, scheduleSeed: 7, instrument: "races" });
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
