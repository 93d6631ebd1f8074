/** @file The C++ launcher's readers: any file is read or refused, and never read beyond its end. */
import { afterAll, expect, test } from "vitest";
import { quickSeconds } from "../../../scripts/fuzz.ts";
import { buildFuzzer } from "./launcher/fuzz.ts";
import { testFolder } from "./launcher/build.ts";

const folder = testFolder("launcher-fuzz");
afterAll(() => folder.remove());

test("mutated checkpoints, under the address and undefined behaviour sanitizers", () => {
  const said = buildFuzzer(folder.path)(2_000_000_000, quickSeconds(), 1);
  console.log(`launcher: ${said}`);
  const [, inputs, refused] = /^(\d+) inputs, (\d+) refused/.exec(said) ?? [];
  expect(Number(refused)).toBeGreaterThan(0);
  expect(Number(inputs)).toBeGreaterThan(Number(refused));
}, 120_000);
