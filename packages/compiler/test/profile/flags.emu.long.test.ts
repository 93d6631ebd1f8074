/** @file The profile of a kernel with flags in the data, and of one that keeps none. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { open } from "../../src/index.ts";
import { accountsOf } from "../../src/profile/index.ts";
import { writeCheckpoint } from "../checkpoint.ts";
import { expectInOrder, generate } from "./marks.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-profile-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const checkpoint = writeCheckpoint(join(dir, "tiny"));
const options = { device: "emulated", sms: 3, maxContext: 64 } as const;

test("flags in the data have their marks too: tokens unchanged, hand-offs named", async () => {
  const flagged = { ...options, plan: { protocol: "flag" } } as const;
  await using plain = await open(checkpoint, flagged);
  const expected = await generate(plain, false);
  await expect(generate(plain, true)).rejects.toThrow("compiled without a profile");
  await using opened = await open(checkpoint, { ...flagged, profile: true });
  expect(opened.compiled.plan.flags.value.length).toBeGreaterThan(0);
  const { tokens, profile } = await generate(opened, true);
  expect(tokens).toEqual(expected.tokens);
  for (const { sms } of profile!.steps) for (const { opened: gate, instructions } of sms) {
    let last = gate;
    for (const one of instructions) {
      expectInOrder(last, one);
      last = one.end;
    }
  }
  const accounts = accountsOf(opened.compiled.plan, profile!, 1e12);
  const waits = accounts.parts.handOff.nanos + accounts.parts.imbalance.nanos;
  expect(waits).toBeGreaterThan(0.05 * accounts.stepNanos);
});
