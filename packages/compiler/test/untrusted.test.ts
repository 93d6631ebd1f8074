/** @file Untrusted input: whatever it is, it is read or refused in our words, soon. */
import { beforeAll, expect, test, vi } from "vitest";
import { fuzzedText, quickSeconds } from "../../../scripts/fuzz.ts";
import { targets } from "./fuzz-targets.ts";

// The tokenizer library complains on the console of what it ignores.
beforeAll(() => void vi.spyOn(console, "warn").mockImplementation(() => undefined));

test.each(targets.map((one) => [one.name, one] as const))("%s", (name, target) => {
  const fuzzed = target.run({ inputs: 2 ** 31 - 1, seconds: quickSeconds() });
  console.log(fuzzedText(name, fuzzed));
  expect(fuzzed.inputs).toBeGreaterThan(0);
  // On a machine too slow for that many, nothing is known of the share.
  if (fuzzed.inputs > 100) expect(fuzzed.refused).toBeGreaterThan(0);
}, 120_000);
