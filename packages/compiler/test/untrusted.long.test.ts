/** @file A million inputs for every parser of untrusted files, or as many as the time allows. */
import { beforeAll, expect, test, vi } from "vitest";
import { fuzzedText } from "../../../scripts/fuzz.ts";
import { longSeconds } from "../../../scripts/long.ts";
import { targets } from "./fuzz-targets.ts";

// The tokenizer library complains on the console of what it ignores.
beforeAll(() => void vi.spyOn(console, "warn").mockImplementation(() => undefined));

/** What one parser does not need, those after it have. */
const end = performance.now() + 1000 * longSeconds(3600, 6);

test.each(targets.map((one, i) => [one.name, one, targets.length - i] as const))(
  "%s",
  (name, target, left) => {
    const seconds = Math.max(1, (end - performance.now()) / 1000 / left);
    const before = process.memoryUsage().rss;
    const fuzzed = target.run({ inputs: 1_000_000, seconds });
    const grown = (process.memoryUsage().rss - before) / 2 ** 20;
    console.log(`${fuzzedText(name, fuzzed)}; memory grew by ${grown.toFixed(0)} MiB`);
    expect(fuzzed.inputs).toBeGreaterThan(0);
    expect(grown).toBeLessThan(1024);
  },
  3_600_000,
);
