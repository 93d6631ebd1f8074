/** @file A model without a checkpoint: random weights, the same for the same seed. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { open } from "../../src/index.ts";
import { tinyConfig } from "../checkpoint.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-random-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const config = join(dir, "config.json");
writeFileSync(config, JSON.stringify(tinyConfig));

async function generate(randomSeed: bigint, sms: number): Promise<readonly number[]> {
  await using opened = await open(config, { device: "virtual", sms, randomSeed });
  const generation = opened.session.generate({ promptIds: [1, 2, 3], maxTokens: 6, eosIds: [] });
  const tokens: number[] = [];
  for await (const id of generation) tokens.push(id);
  return tokens;
}

test("a seed decides the tokens, on any number of SMs", async () => {
  const first = await generate(1n, 2);
  expect(new Set(first).size).toBeGreaterThan(1);
  expect(await generate(1n, 3)).toEqual(first);
  expect(await generate(2n, 2)).not.toEqual(first);
});

test("without a seed a config.json alone is refused; random rows need a GPU", async () => {
  const plain = open(config, { device: "virtual", sms: 2 });
  await expect(plain).rejects.toThrow(/is not a checkpoint folder, so there are no weights/);
  await using opened = await open(config, { device: "virtual", sms: 2, randomSeed: 1n });
  await expect(opened.session.fillCache(1n)).rejects.toThrow(/virtual GPU.* cannot fill its cache/);
  await expect(opened.session.readBandwidth()).rejects.toThrow(/cannot measure its memory/);
});
