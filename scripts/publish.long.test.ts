/** @file Every package's tarball, as publint and are-the-types-wrong see it. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageNames } from "./architecture.ts";
import { build, pack, unpackedJson } from "./build.ts";

const root = join(import.meta.dirname, "..");
const folder = mkdtempSync(join(tmpdir(), "mpk-publish-"));
const tarballs = new Map<string, string>();

/** Output of a tool of the workspace, and whether it was content. */
function tool(name: string, args: readonly string[]): { readonly ok: boolean; readonly text: string } {
  const run = spawnSync(join(root, "node_modules", ".bin", name), args, { encoding: "utf8" });
  return { ok: run.status === 0, text: `${run.stdout}\n${run.stderr}` };
}

beforeAll(() => {
  for (const one of build()) tarballs.set(one.name, pack(one, folder));
}, 300_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(packageNames.map((name) => `@mpk/${name}`))("%s", (name) => {
  const tarball = (): string => tarballs.get(name) ?? "not packed";

  it("pleases publint", () => {
    const { ok, text } = tool("publint", [tarball(), "--strict"]);
    expect(ok, text).toBe(true);
  });

  it("has types that resolve as its code does", () => {
    const { ok, text } = tool("attw", [tarball(), "--profile", "esm-only"]);
    expect(ok, text).toBe(true);
  });

  it("needs the versions packed beside it, not the workspace", () => {
    const json = unpackedJson(tarball());
    const needs = { ...json.dependencies, ...json.peerDependencies };
    const own = Object.entries(needs).filter(([key]) => key.startsWith("@mpk/"));
    expect(own.map(([, range]) => range)).toEqual(own.map(() => json.version));
    expect(json.engines).toEqual({ node: ">=20" });
  });
});

describe("the release", () => {
  it("gives all packages one version", () => {
    const versions = [...tarballs.values()].map((tarball) => unpackedJson(tarball).version);
    expect(new Set(versions).size).toBe(1);
    const config = JSON.parse(readFileSync(join(root, ".changeset", "config.json"), "utf8")) as {
      fixed: unknown;
    };
    expect(config.fixed).toEqual([["@mpk/*"]]);
  });
});
