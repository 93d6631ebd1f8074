/** @file Every planted fault is caught within a few schedules; the sound kernel is not accused. */
import { afterAll, expect, test } from "vitest";
import { caseOf, mutations, sayOf } from "./mutations.ts";
import { expectSame } from "./emulated.ts";

const seeds = [0, 1, 2, 3, 4, 5];
const rows: string[] = [];
afterAll(() => console.log(["| fault | the emulator says |", "|---|---|", ...rows].join("\n")));

test.each(mutations)("$fault", async (mutation) => {
  const said = await sayOf(mutation, seeds);
  rows.push(`| ${mutation.fault} | ${said ?? "nothing"} |`);
  expect(said).toMatch(mutation.says);
}, 120_000);

test.each(["layerNorm", "wide", "fromOne", "split", "units", undefined] as const)("none in %s as it is",
  async (program) => {
    const c = caseOf(program === undefined ? {} : { program });
    for (const scheduleSeed of seeds) await expectSame({ ...c, scheduleSeed });
  }, 120_000);
