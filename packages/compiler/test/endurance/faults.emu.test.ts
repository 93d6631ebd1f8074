/** @file Planted faults end in words that name op, layer and cause; what comes after is right. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { faultsOf, open, openWithFault, showFault, type Opened } from "../../src/index.ts";
import { writeCheckpoint } from "../checkpoint.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-faults-"));
let sound: Opened;
beforeAll(async () => {
  sound = await open(writeCheckpoint(join(dir, "tiny")), { device: "emulated", sms: 3 });
}, 300_000);
afterAll(async () => {
  await sound.close();
  rmSync(dir, { recursive: true, force: true });
});

const names = [
  "a lost signal, in a prompt's step", "a lost word of a flagged value", "an SM that stops",
  "weights that never come", "an impossible token out of the kernel", "a NaN in a weight",
] as const;

const listed = () => {
  const { plan, manifest } = sound.compiled;
  if (manifest === null) throw new Error("compiled without a target");
  return faultsOf(plan, manifest);
};

test("a decoder's kernel can have each of them", () => {
  expect(listed().map(({ name }) => name)).toEqual(names);
});

test.each(names)("%s", async (name) => {
  const fault = listed().find((one) => one.name === name);
  if (fault === undefined) throw new Error(`no fault ${name}`);
  // Time is the emulator's own: only words and tokens count here.
  const shown = await showFault(
    fault, sound.session, (one) => openWithFault(sound.compiled, one, "emulated", process.env), () => 0,
  );
  expect(shown).toMatchObject({ name, passed: true });
}, 300_000);
