/** @file Attention in steps of one token, emitted and run on the CPU, as the virtual GPU has it. */
import { describe, expect, test } from "vitest";
import type { AttentionForm } from "../../cuda/test/emitted/programs.ts";
import { attending } from "./emulated-programs.ts";
import { expectSame, planOf, type EmulatedCase } from "./emulated.ts";

/** Token ids below the table's 300 rows. */
const prompt = (length: number): readonly number[] =>
  Array.from({ length }, (_, i) => (i * 37 + 11) % 300);

/** A prompt in steps of eight tokens, and then tokens one by one. */
const behind = (length: number, form: AttentionForm, more: Partial<EmulatedCase>): EmulatedCase => ({
  program: attending(form, { maxTokens: 8, maxContext: 512 }),
  promptIds: prompt(length), maxTokens: 3, sms: 3, ...more,
});

describe("tiles of sixteen keys, one a warp and turn", () => {
  test("a first token, which has no past, and the one after it", async () => {
    const form = { heads: 2, kvHeads: 1, headDim: 128, qkNorm: true };
    await expectSame(behind(1, form, { maxTokens: 4 }));
  });

  test("several turns of wide heads with norms", async () => {
    const form = { heads: 4, kvHeads: 2, headDim: 128, qkNorm: true, gain: "f32" } as const;
    await expectSame(behind(277, form, { scheduleSeed: 3 }));
  });

  test("several turns of narrow heads, of which an SM has two", async () => {
    const form = { heads: 4, kvHeads: 1, headDim: 64, rope: "llama3" } as const;
    await expectSame(behind(301, form, { sms: 2 }));
  });

  test("a window that begins inside a tile, with few keys held at once", async () => {
    const form = { heads: 2, kvHeads: 2, headDim: 48, window: 133 };
    await expectSame(behind(190, form, { target: "sm_80" }));
  });

  test.each([16, 32, 80, 96, 112])("heads of %i dims", async (headDim) => {
    const form = { heads: 2, kvHeads: 1, headDim, rope: null, window: 21 };
    await expectSame(behind(39, form, { target: headDim === 96 ? "sm_120" : "sm_90a" }));
  });
});

test("no race, with flags in the data and without", async () => {
  for (const [protocol, headDim] of [["flag", 64], ["counter", 64], ["flag", 80]] as const) {
    const form = { heads: 4, kvHeads: 2, headDim, qkNorm: true };
    const watched = behind(21, form, { sms: 3, scheduleSeed: 5, planOptions: { protocol } });
    expect(planOf(watched).flags.value.length > 0).toBe(protocol === "flag");
    await expectSame({ ...watched, instrument: "races" });
  }
});
