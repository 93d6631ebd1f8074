/** @file A million inputs for every parser of untrusted files, or as many as the time allows. */
import { beforeAll, expect, test, vi } from "vitest";
import { fuzzedText } from "../../../scripts/fuzz.ts";
import { longSeconds } from "../../../scripts/long.ts";
import { targets } from "./fuzz-targets.ts";

// The tokenizer library complains on the console of what it ignores.
beforeAll(() => void vi.spyOn(console, "warn").mockImplementation(() => undefined));

/** Each parser's share of the time that this file may take. */
const seconds = longSeconds(3600) / targets.length;

test.each(targets.map((one) => [one.name, one] as const))("%s", (name, target) => {
  const before = process.memoryUsage().rss;
  const fuzzed = target.run({ inputs: 1_000_000, seconds });
  const grown = (process.memoryUsage().rss - before) / 2 ** 20;
  console.log(`${fuzzedText(name, fuzzed)}; memory grew by ${grown.toFixed(0)} MiB`);
  expect(fuzzed.inputs).toBeGreaterThan(1000);
  expect(grown).toBeLessThan(1024);
}, 3_600_000);
