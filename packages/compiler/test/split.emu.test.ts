/** @file Attention in parts and their merge, emitted and run on the CPU, as the virtual GPU has it. */
import { runPasses, splitAttention, type Program } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops";
import { describe, expect, test } from "vitest";
import { passed, type AttentionForm } from "../../cuda/test/emitted/programs.ts";
import { expectGolden } from "./goldens.ts";
import { attending, decoder } from "./emulated-programs.ts";
import { expectSame, planOf } from "./emulated.ts";

/** Splits as for `sms` SMs, whatever the machine has. */
const split = (form: AttentionForm, maxTokens: number, maxContext: number, sms: number): Program =>
  runPasses(attending(form, { maxTokens, maxContext }), semanticsTable, [splitAttention(sms)]);

/** Token ids below the table's 300 rows. */
const prompt = (length: number): readonly number[] =>
  Array.from({ length }, (_, i) => (i * 37 + 11) % 300);

describe("as the virtual GPU computes it", () => {
  test("grouped heads with norms, prompts over several pages, eight tokens a step", async () => {
    const form = { heads: 4, kvHeads: 1, headDim: 64, qkNorm: true };
    const program = split(form, 8, 256, 3);
    expect(program.ops.map(({ kind }) => kind)).toContain("attentionPart");
    await expectSame({ program, promptIds: prompt(150), maxTokens: 4 });
  });

  test("a window, and more queries than the tensor cores take at once", async () => {
    const form = { heads: 12, kvHeads: 1, headDim: 48, window: 50 };
    const program = split(form, 4, 192, 4);
    await expectSame({ program, promptIds: prompt(101), maxTokens: 3, scheduleSeed: 3 });
  });

  test("a head of its own for each query, by cp.async, one token a step", async () => {
    const form = { heads: 2, kvHeads: 2, headDim: 80, rope: null };
    const program = split(form, 1, 128, 6);
    await expectSame({ program, target: "sm_80", promptIds: prompt(70), maxTokens: 3 });
  });

  test("the widest heads, with less in registers", async () => {
    const form = { heads: 2, kvHeads: 1, headDim: 256 };
    const program = split(form, 3, 96, 2);
    await expectSame({ program, target: "sm_120", promptIds: prompt(40), maxTokens: 2 });
  });
});

describe("steps whose tokens are in several units of positions", () => {
  // Every row is seen by the layer and the steps after it.
  const layered = (maxTokens: number, headDim: number): Program =>
    decoder(maxTokens, headDim, [splitAttention(4)]);

  test.each([
    { tokens: 5, headDim: 64, target: "sm_90a" },
    { tokens: 7, headDim: 128, target: "sm_120" },
    { tokens: 24, headDim: 80, target: "sm_80" },
    { tokens: 64, headDim: 128, target: "sm_90a" },
  ])("$tokens tokens a step, heads of $headDim on $target", async ({ tokens, headDim, target }) => {
    const program = layered(tokens, headDim);
    await expectSame({ program, target, promptIds: prompt(139), maxTokens: 3 });
  });

  test("without a race, or an access without the order it needs", async () => {
    const common = { program: layered(40, 64), promptIds: prompt(90), maxTokens: 2 } as const;
    await expectSame({ ...common, scheduleSeed: 4, instrument: "races" });
  });
});

describe("more keys than the ring holds at once", () => {
  const planOptions = { stages: 8 };

  test.each([64, 128, 144])("heads of %i, one token a step and several", async (headDim) => {
    const form = { heads: 4, kvHeads: 1, headDim };
    const program = split(form, 8, 512, 1);
    await expectSame({ program, planOptions, sms: 2, promptIds: prompt(400), maxTokens: 20 });
  });

  test("pages beyond those whose numbers are in shared memory", async () => {
    const program = split({ heads: 4, kvHeads: 1, headDim: 64 }, 8, 512, 3);
    const edit = (source: string): string => source.replace(/kSharedPages = \d+u/, "kSharedPages = 2u");
    await expectSame({ program, edit, sms: 3, promptIds: prompt(400), maxTokens: 6 });
  });

  test("without a race, or an access without the order it needs", async () => {
    const form = { heads: 4, kvHeads: 1, headDim: 128 };
    const program = split(form, 8, 512, 1);
    const common = { program, planOptions, promptIds: prompt(285), maxTokens: 5 } as const;
    await expectSame({ ...common, scheduleSeed: 5, instrument: "races" });
  });
});

describe("with flags in the data", () => {
  const planOptions = { protocol: "flag" } as const;
  const form = { heads: 4, kvHeads: 2, headDim: 64, qkNorm: true };
  const program = passed(split(form, 4, 256, 6));

  test("prompts of several tokens and of one; splits with keys and without", async () => {
    const flagged = planOf({ program, planOptions }).flags.value;
    for (const op of program.ops) {
      const isHandedOver = op.kind === "attentionPart" || op.kind === "attentionMerge";
      if (isHandedOver) expect(flagged).toContain(op.outputs[0]);
    }
    await expectSame({ program, planOptions, promptIds: prompt(150), maxTokens: 4 });
    await expectSame({ program, planOptions, promptIds: [3], maxTokens: 40, scheduleSeed: 2 });
  });

  test("a window that leaves some splits without keys from time to time", async () => {
    const windowed = passed(split({ ...form, window: 40 }, 4, 256, 8));
    await expectSame({ program: windowed, planOptions, promptIds: prompt(90), maxTokens: 12 });
  });

  test("without a race, or an access without the order it needs", async () => {
    for (const promptIds of [[3], prompt(65)]) {
      const common = { program, planOptions, promptIds, maxTokens: 3 } as const;
      await expectSame({ ...common, scheduleSeed: 1, instrument: "races" });
    }
  });
});

test("a family's small checkpoint, as transformers computes it", async () => {
  await expectGolden("qwen3", 2e-2, { device: "emulated", sms: 4, attention: "split" });
});
