/** @file Ctrl-C while the emulator is being built: nothing is left behind. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { writeCheckpoint } from "../../compiler/test/checkpoint.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-interrupt-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test("an interrupted build leaves no folder in the system's temporary one", async () => {
  const scratch = join(dir, "scratch");
  mkdirSync(scratch);
  const checkpoint = writeCheckpoint(join(dir, "tiny"));
  const main = join(import.meta.dirname, "..", "src", "main.ts");
  const args = ["run", checkpoint, "--device", "emulated", "--prompt-ids", "1"];
  const child = spawn(process.execPath, ["--conditions=@mpk/source", main, ...args], {
    env: { ...process.env, TMPDIR: scratch, XDG_CACHE_HOME: join(dir, "cache") }, stdio: "ignore",
  });
  const ended = once(child, "close");
  while (readdirSync(scratch).length === 0 && child.exitCode === null) await sleep(10);
  child.kill("SIGINT");
  expect((await ended)[0]).toBe(130);
  expect(readdirSync(scratch)).toEqual([]);
}, 60_000);
