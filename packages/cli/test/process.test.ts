/** @file The real process: exit codes, streams and Ctrl-C. Few spawns: each costs a second. */
import { spawn, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { writeCheckpoint } from "../../compiler/test/checkpoint.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-process-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const main = join(import.meta.dirname, "..", "src", "main.ts");

/** `onOut` gets the process to interrupt it. */
function mpk(args: readonly string[], onOut: (kill: (signal: NodeJS.Signals) => void) => void) {
  const options = ["--conditions=@mpk/source", "--disable-warning=ExperimentalWarning"];
  const child = spawn(process.execPath, [...options, main, ...args], {
    env: { ...process.env, MPK_DEBUG: "" },
  });
  const ran = { out: "", err: "" };
  child.stdout.on("data", (data: Buffer) => {
    ran.out += data.toString();
    onOut((signal) => void child.kill(signal));
  });
  child.stderr.on("data", (data: Buffer) => (ran.err += data.toString()));
  return new Promise<typeof ran & { code: number | null }>((resolve) => {
    child.on("close", (code) => resolve({ ...ran, code }));
  });
}

test("Ctrl-C mid-generation stops cleanly with 130", async () => {
  const checkpoint = writeCheckpoint(join(dir, "tiny"));
  const args = ["run", checkpoint, "--device", "virtual", "--prompt", "a", "--no-eos"];
  let interrupted = false;
  const ran = await mpk([...args, "--max-tokens", "60"], (kill) => {
    if (!interrupted) kill("SIGINT");
    interrupted = true;
  });
  expect(ran).toMatchObject({ code: 130, err: "interrupted\n" });
  expect(ran.out.length).toBeGreaterThan(0);
});

test("standard output that is full: exit code 3, one error, no stack trace", () => {
  const full = openSync("/dev/full", "w");
  const options = ["--conditions=@mpk/source", "--disable-warning=ExperimentalWarning"];
  const ran = spawnSync(process.execPath, [...options, main, "doctor"], {
    stdio: ["ignore", full, "pipe"], encoding: "utf8",
  });
  closeSync(full);
  expect(ran.status).toBe(3);
  expect(ran.stderr).toMatch(/^error: standard output: ENOSPC.*\n {2}fix: make room.*\n$/);
});

test("a checkpoint that is not there: exit code 2, one error, no stack trace", async () => {
  const ran = await mpk(["run", join(dir, "nothing"), "--prompt", "a"], () => undefined);
  expect(ran).toMatchObject({ code: 2, out: "" });
  expect(ran.err).toMatch(/^error: .*nothing: no such file or directory.*\n {2}fix: .*\n$/);
});

test("a model.ts where modules are CommonJS: exit code 2, and how to make it a module", async () => {
  writeFileSync(join(dir, "package.json"), JSON.stringify({ type: "commonjs" }));
  writeFileSync(join(dir, "model.ts"), 'import { defineModel } from "@mpk/dsl";\n');
  const ran = await mpk(["verify", join(dir, "model.ts")], () => undefined);
  expect(ran).toMatchObject({ code: 2, out: "" });
  expect(ran.err).toMatch(/model.ts: .* outside a module\n {2}fix: call it model.mts, or set "type": "module"/);
});
