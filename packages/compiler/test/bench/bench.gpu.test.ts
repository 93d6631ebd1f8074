/** @file Measuring on a GPU: random bits made there, its own profile, a benchmark end to end. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { accountsOf, benchOne, open, partNames, settingOf } from "../../src/index.ts";
import { tinyConfig } from "../checkpoint.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-bench-gpu-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const config = join(dir, "config.json");
writeFileSync(config, JSON.stringify({ ...tinyConfig, max_position_embeddings: 2048 }));
const options = { device: "cuda", maxContext: 1024, randomSeed: 5n } as const;

async function logits(measure: boolean, startPosition = 0) {
  await using opened = await open(config, { ...options, measure });
  if (startPosition > 0) await opened.session.fillCache(3n);
  const generation = opened.session.generate({
    promptIds: [1, 2, 3], maxTokens: 12, eosIds: [], logits: "all", startPosition,
  });
  const tokens: number[] = [];
  for await (const id of generation) tokens.push(id);
  return { tokens, logits: generation.summary().logits };
}

test("weights made on the GPU are the host's, to the last bit of every logit", async () => {
  expect(await logits(true)).toEqual(await logits(false));
});

test("random cache rows are the same every time, and finite", async () => {
  const [first, second] = [await logits(true, 700), await logits(true, 700)];
  expect(first).toEqual(second);
  expect(first.logits.every((row) => row.every(Number.isFinite))).toBe(true);
});

test("a profile's marks come in order and its accounts add up", async () => {
  await using opened = await open(config, { ...options, profile: true });
  const generation = opened.session.generate({
    promptIds: [1], maxTokens: 20, eosIds: [], profile: { firstStep: 10, steps: 4 },
  });
  for await (const _ of generation);
  const profile = generation.summary().profile!;
  expect(profile.steps).toHaveLength(4);
  for (const { sms } of profile.steps) for (const { opened: gate, instructions } of sms) {
    let last = gate;
    for (const { start, ready, asked, data, consumed, end } of instructions) {
      for (const mark of [start, ready, asked, data, consumed, end]) {
        if (mark === null) continue;
        expect(mark).toBeGreaterThanOrEqual(last);
        last = mark;
      }
    }
  }
  const { plan } = opened.compiled;
  const accounts = accountsOf(plan, profile, plan.machine.readBytesPerSecond);
  const sum = partNames.reduce((total, part) => total + accounts.parts[part].nanos, 0);
  expect(Math.abs(sum - accounts.stepNanos)).toBeLessThan(1);
});

test("a benchmark from config.json to its result", async () => {
  const setting = settingOf({ model: config, context: 16, tokens: 40, reruns: 3, longTokens: 120 });
  const { result } = await benchOne(setting, { env: process.env });
  expect(result).toMatchObject({ reruns: 3, rerunsEqual: 3, ms: { count: 117 }, long: { tokens: 119 } });
  expect(result.ms.p50).toBeGreaterThan(result.floorMs);
  expect(result.probeBytesPerSecond).toBeGreaterThan(1e10);
});
