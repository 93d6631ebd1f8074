/** @file The trust command names files that exist, and leaves none of its kinds out. */
import { existsSync, globSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parts } from "./trust.ts";

const root = join(import.meta.dirname, "..");

test("seven parts, whose files exist", () => {
  expect(parts).toHaveLength(7);
  for (const { quick, long } of parts) {
    expect([...quick, ...long].filter((file) => !existsSync(join(root, file)))).toEqual([]);
    expect(quick.length).toBeGreaterThan(0);
  }
});

test("no model check, emulation, fuzzing or fault test is left out", () => {
  const named = new Set(parts.flatMap(({ quick, long }) => [...quick, ...long]));
  const found = ["spin", "emu"].flatMap((tier) => [
    ...globSync(`packages/{schedule,compiler}/test/**/*.${tier}{,.long}.test.ts`, { cwd: root }),
  ]);
  const own = globSync("packages/*/test/**/{untrusted,faults}*.test.ts", { cwd: root });
  // A kernel's own times are a matter of speed.
  const needed = [...found, ...own].filter((file) => !file.includes("/profile/"));
  expect(needed.filter((file) => !named.has(file))).toEqual([]);
});
