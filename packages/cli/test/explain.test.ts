/** @file mpk explain: what it says, and what it refuses. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { mpk } from "./io.ts";
import { makePages, type Pages } from "./view/pages.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-explain-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
let pages: Pages;
beforeAll(async () => {
  pages = await makePages(join(dir, "tiny"));
});

test("explain says what bounds a model, what is lost, what would move it and why no graph", async () => {
  const args = ["explain", pages.model, "--machine", pages.machine, "--context", "20"];
  const text = await mpk(args);
  expect(text).toMatchObject({ code: 0, err: "" });
  expect(text.out).toMatch(/predicted [\d.]+ ms a token\. Reading its [\d.]+ GB once .*\nBound by \w+/);
  expect(text.out).toMatch(/largest losses against that floor, µs\n[^]*costs: \w+Nanos \d+/);
  expect(text.out).toMatch(/protocol=counter +[\d.]+ +[+-][\d.]+ % +hand-offs by counters/);
  expect(text.out).toMatch(/separate kernels\? Modelled, not measured:\n14 kernels/);
  const json = JSON.parse((await mpk([...args, "--json"])).out);
  expect(json).toMatchObject({ source: "predicted", machine: { source: "measured" } });
  expect(json.losses).toHaveLength(5);
});

test("explain takes a profile for what was lost, of this model only", async () => {
  const args = ["explain", pages.model, "--machine", pages.machine, "--context", "20", "--profile"];
  const text = await mpk([...args, pages.profile]);
  expect(text.out).toMatch(/measured [\d.]+ ms a token \(predicted [\d.]+\)/);
  const other = await mpk([...args, pages.other]);
  expect(other.code).toBe(2);
  expect(other.err).toMatch(/is of another model or plan/);
});
