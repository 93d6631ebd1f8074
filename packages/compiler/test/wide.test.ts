/** @file Steps of many tokens on the virtual GPU: proven, and as transformers computes it. */
import { describe, expect, test } from "vitest";
import { scheduleTable } from "@mpk/ops";
import { machines, plan, verify, virtual } from "@mpk/schedule";
import { linears } from "../../cuda/test/emitted/programs.ts";
import { decoder, prompt } from "./emulated-programs.ts";
import { runVirtual, type Generated } from "./emulated.ts";
import { expectGolden, relativeError } from "./goldens.ts";

test.each([16, 64])("a family's small checkpoint in steps of %i tokens", async (maxTokens) => {
  await expectGolden("llama3-gqa", 2e-2, { device: "virtual", sms: 4, maxTokens });
}, 60_000);

test.each([[16, 16], [33, 33], [64, 64], [64, 33]])(
  "at most %i tokens a step, a prompt of %i gives what eight tokens a step give",
  async (most, tokens) => {
    const [promptIds, maxTokens] = [prompt(tokens), 2];
    const wanted = await runVirtual({ program: decoder(8, 16), promptIds, maxTokens });
    const got = await runVirtual({ program: decoder(most, 16), promptIds, maxTokens });
    expect(got.tokens).toEqual(wanted.tokens);
    // Of the prompt's last step on; the steps before it are others.
    const rows = (run: Generated): readonly Float32Array[] => run.summary.logits.slice(-maxTokens);
    expect(relativeError(rows(got), rows(wanted))).toBeLessThan(1e-2);
  },
);

describe("the law of the device", () => {
  test("holds for plans of many tokens, on large rings and small", () => {
    for (const machine of [machines.h200, machines.a100, machines.rtx4090, virtual(1)]) {
      for (const most of [9, 16, 17, 32, 33, 64]) {
        const { laws } = verify(plan(linears(most, 600), scheduleTable, machine), scheduleTable);
        expect(laws.flatMap(({ violations }) => violations)).toEqual([]);
      }
    }
  });

  test("says which op has no room for so many tokens", () => {
    const made = plan(linears(64, 600), scheduleTable, virtual(2));
    const ring = { ...made.ring, activationBytes: 40_000 };
    const { laws } = verify({ ...made, ring }, scheduleTable);
    const device = laws.find(({ name }) => name === "device");
    expect(device?.violations[0]?.message).toMatch(/linear .* its task takes \d+ bytes beside the ring/);
  });
});
