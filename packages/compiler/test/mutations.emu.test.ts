/** @file Planted faults are caught, and the page that says so names each of them. */
import { readFileSync } from "node:fs";
import { expect, test, vi } from "vitest";
import { emitOf } from "./emulated.ts";
import { caseOf, mutations, planted, sayOf, type Mutation } from "./mutations.ts";

// A busy machine may take long to compile; nothing here measures time.
vi.setConfig({ testTimeout: 300_000 });

const page = readFileSync(new URL("../../../docs/reliability.md", import.meta.url), "utf8");

test("docs/reliability.md has a row for every fault, and no other", () => {
  const [, table = ""] = page.split("| fault planted into the emitted source |");
  const rows = [...(table.split("\n\n")[0] ?? "").matchAll(/^\| (?!-)(.*?) \|/gm)];
  expect(rows.map(([, fault]) => fault)).toEqual(mutations.map(({ fault }) => fault));
});

test("every fault still has its place in the emitted source", () => {
  for (const mutation of mutations) {
    const { source } = emitOf(caseOf(mutation));
    expect(planted(mutation, source), mutation.fault).not.toBe(source);
  }
});

const named = (fault: string): Mutation => {
  const found = mutations.find((each) => each.fault === fault);
  if (found === undefined) throw new Error(`no fault is called ${fault}`);
  return found;
};

// The others follow in the long tests.
test.each([
  "a signal is relaxed where it must release",
  "a stage is released by one lane before the others have read it",
  "one token: a stage is freed before its reads have arrived",
  "few tokens: a stage is freed before its reads have arrived",
  "few tokens, a chunk taken early: a stage is freed before its reads have arrived",
  "pairs of tiles: a stage is freed before its reads have arrived",
  "many tokens: a stage is freed before its reads have arrived",
  "few tiles: a stage is freed before its reads have arrived",
  "cached keys: a stage is freed before its reads have arrived",
  "mbarriers are not fenced for the copy engine",
].map(named))("$fault", async (mutation) => {
  const said = await sayOf(mutation, [1]);
  expect(said).toMatch(mutation.says);
  // The same seed, the same run: the same threads meet at the same word.
  expect(await sayOf(mutation, [1])).toBe(said);
});
