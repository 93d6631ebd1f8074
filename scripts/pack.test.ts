/**
 * @file dsl, ir, schedule and cuda each install with only the packages that their row of the map
 * permits, and a user's program runs on them.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { arrows, packageNames, type PackageName } from "./architecture.ts";
import { build, pack } from "./build.ts";
import { runConsumer, type Consumer } from "./consumer.ts";

/** What each row's program, scripts/consumers/NAME.ts, must print. */
const expected: Partial<Record<PackageName, readonly string[]>> = {
  ir: ["round trip: true", "violations: 0", "broken: ", "x: 50 60 10 20"],
  schedule: ["laws: 7, ok: true", "lowered thresholds: refused", "tokens: 4, the same under 3"],
  cuda: ["includes: 0", "bodies: 3", "launch: 3 blocks, entry mpk_decode", "same again: true"],
  dsl: ["violations: 0", "layers: 2", "tokens: 5, all in range: true", "wrong: linear at out/main.js:"],
};
const rows = packageNames.filter((name) => name in expected);
const packs = mkdtempSync(join(tmpdir(), "mpk-packs-"));
const tarballs = new Map<string, string>();
const folders: string[] = [packs];

/** The package itself and what its row permits. */
function row(name: PackageName): readonly string[] {
  return [name, ...Object.keys(arrows[name])].map((one) => `@mpk/${one}`).sort();
}

function consume(name: PackageName): Consumer {
  const permitted = new Map([...tarballs].filter(([key]) => row(name).includes(key)));
  const source = join(import.meta.dirname, "consumers", `${name}.ts`);
  const folder = mkdtempSync(join(tmpdir(), "mpk-consumer-"));
  folders.push(folder);
  return runConsumer(folder, source, permitted);
}

beforeAll(() => {
  for (const one of build(rows.map((name) => `@mpk/${name}`)))
    tarballs.set(one.name, pack(one, packs));
}, 120_000);
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

describe.each(rows)("@mpk/%s, packed", (name) => {
  it("installs with its row alone, typechecks and runs", { timeout: 120_000 }, () => {
    const { installed, printed } = consume(name);
    expect(installed).toEqual(row(name));
    expect(printed.size).toBeGreaterThan(0);
    for (const [version, text] of printed)
      for (const line of expected[name] ?? []) expect(text, version).toContain(line);
  });
});
