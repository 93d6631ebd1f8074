/** @file Attention of a step's several tokens, run on the CPU, as the virtual GPU computes it. */
import type { PlanOptions } from "@mpk/schedule";
import { expect, test } from "vitest";
import type { AttentionForm } from "../../cuda/test/emitted/programs.ts";
import { attending } from "./emulated-programs.ts";
import { expectSame, planOf } from "./emulated.ts";

/** Token ids below the table's 300 rows. */
const prompt = (length: number): readonly number[] =>
  Array.from({ length }, (_, i) => (i * 37 + 11) % 300);

const cases: readonly (readonly [
  what: string, form: AttentionForm, maxTokens: number, tokens: number, target: string,
])[] = [
  ["grouped heads with norms, eight tokens a step",
    { heads: 4, kvHeads: 2, headDim: 64, qkNorm: true }, 8, 150, "sm_90a"],
  ["half a block of dims, a window within a step",
    { heads: 3, kvHeads: 1, headDim: 48, window: 20 }, 64, 101, "sm_90a"],
  ["no octet full, a window over steps, by cp.async",
    { heads: 2, kvHeads: 2, headDim: 80, window: 40, rope: null }, 21, 75, "sm_80"],
  ["all rows of a unit at once, half a block of dims",
    { heads: 3, kvHeads: 1, headDim: 80, qkNorm: true }, 16, 110, "sm_90a"],
  ["the widest heads, with less in registers", { heads: 2, kvHeads: 1, headDim: 256 }, 3, 40, "sm_120"],
];

test.each(cases)("%s", async (_, form, maxTokens, tokens, target) => {
  const program = attending(form, { maxTokens, maxContext: 256 });
  await expectSame({ program, target, sms: 2, promptIds: prompt(tokens), maxTokens: 2, scheduleSeed: 5 });
}, 120_000);

const fews: readonly (readonly [
  what: string, form: AttentionForm, maxTokens: number, tokens: number, planOptions: PlanOptions, workBytes: number,
])[] = [
  ["with flags, several turns of tiles, all values at once",
    { heads: 4, kvHeads: 2, headDim: 128, qkNorm: true }, 8, 165, { protocol: "flag" }, 33280],
  ["a window, more tokens than warps",
    { heads: 4, kvHeads: 2, headDim: 128, window: 30 }, 8, 90, { consumerWarps: 4 }, 25088],
  ["values in two parts, no step full", { heads: 2, kvHeads: 1, headDim: 96, window: 7 }, 5, 37,
    { consumerWarps: 5 }, 15040],
];

test.each(fews)("steps of a few tokens, %s, no race", async (_, form, maxTokens, tokens, planOptions, bytes) => {
  const program = attending(form, { maxTokens, maxContext: 256 });
  const { activationBytes, partialBytes } = planOf({ program, planOptions, sms: 2 }).ring;
  expect(activationBytes + 2 * partialBytes).toBe(bytes);
  await expectSame({
    program, planOptions, sms: 2, promptIds: prompt(tokens), maxTokens: 2, scheduleSeed: 3, instrument: "races",
  });
}, 120_000);

test("keys of the past for all warps at once, steps with octets for some, no race", async () => {
  const form = { heads: 2, kvHeads: 1, headDim: 128, qkNorm: true };
  const program = attending(form, { maxTokens: 64, maxContext: 256 });
  const promptIds = prompt(170);
  await expectSame({ program, sms: 2, promptIds, maxTokens: 2, scheduleSeed: 7, instrument: "races" });
}, 120_000);

test("pages that are no multiple of a unit, fewer warps than queries want, no race", async () => {
  const program = attending({ heads: 2, kvHeads: 1, headDim: 32 }, { maxTokens: 33, maxContext: 128 });
  const planOptions = { pageTokens: 24, consumerWarps: 4 };
  expect(planOf({ program, planOptions }).ring.consumerWarps).toBe(4);
  await expectSame({
    program, planOptions, sms: 2, promptIds: prompt(70), maxTokens: 2, scheduleSeed: 6, instrument: "races",
  });
}, 120_000);
