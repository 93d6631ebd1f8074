/** @file A soak of the emitted source on the CPU: some thousand tokens, in two parts. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { longSeconds } from "../../../../scripts/long.ts";
import { compareSamples, newState, open, soakPart } from "../../src/index.ts";
import { writeCheckpoint } from "../checkpoint.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-soak-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test("random prompts, lengths and ends; logits held to a prompt's, and to float32", async () => {
  const checkpoint = writeCheckpoint(join(dir, "tiny"));
  const now = () => performance.now();
  const mostMillis = 1000 * longSeconds(120);
  await using emulated = await open(checkpoint, { device: "emulated", sms: 3 });
  const { session } = emulated;
  let state = newState({ model: "tiny", device: session.device.name, seed: 5, ...session.limits });
  for (const tokens of [2000, 4000]) {
    state = await soakPart(session, state, {
      tokens, mostMillis, checkEvery: 100, now,
      memory: () => ({ host: process.memoryUsage().rss, deviceFree: session.freeBytes() }),
    });
  }
  await using reference = await open(checkpoint, { device: "virtual", precision: "f32", sms: 3 });
  state = await compareSamples(reference.session, state, { mostMillis, now });
  console.log(`${state.tokens} tokens, ${state.checked} checked, at most ${state.worstError} off`);
  expect(state.failures).toEqual([]);
  expect(state.checked).toBeGreaterThan(0);
  expect(state.samples.some(({ error }) => error !== null)).toBe(true);
}, 600_000);
