/** @file The C++ launcher's readers: a million files and more, or as many as the time allows. */
import { afterAll, expect, test } from "vitest";
import { longSeconds } from "../../../scripts/long.ts";
import { buildFuzzer } from "./launcher/fuzz.ts";
import { testFolder } from "./launcher/build.ts";

const folder = testFolder("launcher-fuzz-long");
afterAll(() => folder.remove());

test("mutated checkpoints, by several seeds", () => {
  const run = buildFuzzer(folder.path);
  const seconds = longSeconds(240) / 4;
  for (let seed = 2; seed < 6; seed++) {
    const said = run(500_000, seconds, seed);
    console.log(`launcher, seed ${seed}: ${said}`);
    expect(said).toMatch(/^\d+ inputs, \d+ refused/);
  }
}, 3_600_000);
