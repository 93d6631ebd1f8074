/** @file The fidelity gate end to end without a GPU: our logits, by the virtual GPU, against transformers. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import {
  findPython, isMeasured, measureBesides, notMeasured, open, settingOf, withLogits, type BenchResult,
} from "../../src/index.ts";
import { writeRun, type KeptRun } from "../../src/bench/beside.ts";
import { tinyConfig } from "../checkpoint.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-transformers-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const model = join(dir, "config.json");
writeFileSync(model, JSON.stringify(tinyConfig));
const python = await findPython(process.env);

const setting = settingOf({ model, context: 24, tokens: 16, seed: 5n, wantsFidelity: true });
const no = notMeasured("not yet");
const pending: BenchResult = {
  model, context: 24, tokensPerStep: 1, weightBytes: 1e6, cacheBytes: 1, limitBytesPerSecond: 1,
  probeBytesPerSecond: null, floorMs: 1, eventMs: null, firstTokenMs: null, promptStep: null,
  reruns: 1, rerunsEqual: 1, ms: { p50: 1, p99: null, worst: null, fastest: null, count: null },
  fidelity: no, torch: no, pending: true,
};

async function gate(run: KeptRun) {
  const results: BenchResult[] = [];
  await measureBesides([{ setting, result: pending, run: await writeRun(dir, run) }], {
    env: process.env, scratch: dir, mostSeconds: () => 120, onResult: (one) => void results.push(one),
  });
  return results[0]?.fidelity;
}

test("the same random weights here and there: right logits pass, others do not", async ({ skip }) => {
  if (!isMeasured(python)) skip(python.notMeasured);
  await using opened = await open(model, {
    device: "virtual", sms: 2, randomSeed: setting.seed, maxContext: 64, maxTokens: 8,
  });
  const { prompt, launched } = await withLogits(opened.session, { ...setting, promptChunk: 8 });
  const run = { prompt, tokens: launched.tokens, logits: launched.summary.logits };
  expect(await gate(run)).toMatchObject({ passed: true, wrong: 0 });
  const shifted = run.logits.map((row) => row.map((value) => value * 1.1));
  expect(await gate({ ...run, logits: shifted })).toMatchObject({ passed: false });
});
