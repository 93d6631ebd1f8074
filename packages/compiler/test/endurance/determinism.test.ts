/** @file The same model gives the same bytes, whatever process, folder, clock and language it has. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { tinyConfig } from "../checkpoint.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-determinism-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const main = join(import.meta.dirname, "../../../cli/src/main.ts");

interface World {
  readonly name: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly node?: readonly string[];
  readonly cwd?: string;
}

/** Compiles in a process of its own; the SHA-256 of every file that it writes, and of the plan. */
function digests({ name, env = {}, node = [], cwd = dir }: World): Readonly<Record<string, string>> {
  const folder = join(dir, name, "model");
  mkdirSync(folder, { recursive: true });
  cpSync(join(dir, "config.json"), join(folder, "config.json"));
  const out = join(dir, name, "out");
  const args = [
    "--conditions=@mpk/source", "--disable-warning=ExperimentalWarning", ...node, main, "compile",
    join(folder, "config.json"), "--sms", "7", "--out", out, "--save-plan", join(out, "plan.json"),
  ];
  const ran = spawnSync(process.execPath, args, { cwd, encoding: "utf8", env: { ...process.env, ...env } });
  if (ran.status !== 0) throw new Error(ran.stderr);
  return Object.fromEntries(readdirSync(out).sort().map((file) => {
    const bytes = readFileSync(join(out, file));
    return [file, createHash("sha256").update(bytes).digest("hex")] as const;
  }));
}

test("kernel, Manifest, launcher and plan are the same to the byte", () => {
  writeFileSync(join(dir, "config.json"), JSON.stringify(tinyConfig));
  const first = digests({ name: "first" });
  expect(Object.keys(first)).toEqual(expect.arrayContaining(["kernel.cu", "manifest.json", "plan.json"]));
  const worlds: readonly World[] = [
    { name: "another language and clock", env: { LANG: "tr_TR.UTF-8", LC_ALL: "de_DE.UTF-8", TZ: "Asia/Kathmandu" } },
    { name: "another home and folder", env: { HOME: "/", XDG_CACHE_HOME: "/nowhere", USER: "x" }, cwd: "/" },
    // No JIT tiers: floating point and sorting are the interpreter's own.
    { name: "another compiler of JavaScript", node: ["--no-opt", "--no-sparkplug", "--hash-seed=7", "--random-seed=7"] },
    { name: "little memory", node: ["--max-old-space-size=256", "--max-semi-space-size=1"] },
  ];
  for (const world of worlds) expect(digests(world), world.name).toEqual(first);
}, 120_000);
