/** @file The whole path on the virtual GPU against transformers: every family, and real text. */
import { expect, test } from "vitest";
import { open } from "../src/index.ts";
import { expectGolden, families, kjv, kjvGoldens, relativeError } from "./goldens.ts";

test.each(families)("%s: within 1e-5 unrounded, within 2e-2 in bf16", async (family) => {
  expect(families.length).toBeGreaterThan(5);
  await expectGolden(family, 1e-5, { device: "virtual", sms: 5, precision: "f32" });
  await expectGolden(family, 2e-2, { device: "virtual", sms: 3, precision: "bf16" });
});

test("the shipped checkpoint goes on with a text as transformers does", async () => {
  await using model = await open(kjv, { device: "virtual", sms: 4, precision: "f32" });
  for (const golden of kjvGoldens.slice(0, 2)) {
    expect(model.tokenizer?.encode(golden.prompt)).toEqual(golden.promptIds);
    const text = model.text(golden.prompt, { maxTokens: 16, logits: "lastPrompt" });
    let got = "";
    for await (const piece of text) got += piece;
    expect(text.tokens).toEqual(golden.greedyIds.slice(0, 16));
    expect(golden.greedyText.trimStart()).toContain(got.trim());
    expect(relativeError(text.summary().logits, [golden.lastPromptLogits])).toBeLessThan(1e-5);
  }
});
