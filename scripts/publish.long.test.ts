/** @file Every package's tarball, as publint and are-the-types-wrong see it. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageNames } from "./architecture.ts";
import { build, pack, unpackedJson } from "./build.ts";
import { installTarballs, runOnEachNode } from "./consumer.ts";

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

describe("@mpk/cli, installed", () => {
  const project = join(folder, "project");
  const cli = join("node_modules", "@mpk", "cli", "dist", "main.js");

  beforeAll(() => {
    mkdirSync(project);
    installTarballs(project, tarballs);
  }, 120_000);

  it("generates from a checkpoint without the repository", { timeout: 300_000 }, () => {
    const checkpoint = join(root, "examples", "checkpoints", "kjv-llama");
    const options = ["--prompt-ids", "1,2,3", "--max-tokens", "2", "--device", "virtual", "--json"];
    const printed = runOnEachNode([cli, "run", checkpoint, ...options], project);
    const tokens = [...printed.values()].map(
      (text) => (JSON.parse(text) as { readonly tokens: readonly number[] }).tokens,
    );
    expect(tokens[0]).toHaveLength(2);
    for (const other of tokens) expect(other).toEqual(tokens[0]);
  });

  it("compiles for a GPU", { timeout: 120_000 }, () => {
    const config = join(root, "examples", "checkpoints", "kjv-llama", "config.json");
    for (const text of runOnEachNode([cli, "compile", config, "--out", "kernel"], project).values())
      expect(text).toContain("events");
    expect(readdirSync(join(project, "kernel"))).toContain("kernel.cu");
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
