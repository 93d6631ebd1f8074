/** @file The performance page's table and picture are those of the committed results. */
import { readFileSync } from "node:fs";
import { chartOf, resultsPart, readBenchFile, replacePart } from "@mpk/compiler";
import { expect, test } from "vitest";

const read = (name: string): string =>
  readFileSync(new URL(`./${name}`, import.meta.url), "utf8");
const hint = "npx -y pnpm@12 mpk bench docs/performance.results.json " +
  "--chart docs/performance.svg --page docs/performance.md writes both";

test("the table and the chart hold the measured numbers", () => {
  const file = readBenchFile("performance.results.json", read("performance.results.json"));
  const page = read("performance.md");
  expect(replacePart(page, "results", resultsPart(file)), hint).toBe(page);
  const title = `Time per step on one ${file.machine.split(" (")[0]}`;
  expect(chartOf(title, file.results), hint).toBe(read("performance.svg"));
});
