/**
 * @file Every body compiles for every target: no warning, no spill, registers for a whole block.
 * The product of all models and targets is in `models.nvcc.long.test.ts`.
 */
import { semanticsTable } from "@mpk/ops";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { targets } from "../src/index.ts";
import { programOf, realConfigs, splitProgramOf } from "./emitted/configs.ts";
import { compileAll, expectClean, flaggedJob, gpus, jobOf, type Compiled, type Job } from "./emitted/nvcc.ts";
import { attentionForms, attentions, everyOp, linears } from "./emitted/programs.ts";
import { arrivalsOf } from "./emitted/scoreboards.ts";
import { testFolder } from "./launcher/build.ts";

const folder = testFolder("emit-nvcc");
afterAll(() => folder.remove());

const jobs: readonly Job[] = [
  ...targets.map(({ name }) => jobOf("every op", everyOp(), name)),
  jobOf("linears", linears(), "sm_90a"),
  jobOf("Qwen3-8B", programOf(realConfigs["Qwen3-8B"]), "sm_90a"),
  flaggedJob("Qwen3-8B, split", splitProgramOf(realConfigs["Qwen3-8B"], gpus["sm_90a"]!.sms), "sm_90a"),
  // Their few tiles are folded.
  ...["sm_90a", "sm_120"].map((target) =>
    flaggedJob("Llama-3.2-3B", programOf(realConfigs["Llama-3.2-3B"]), target)),
  jobOf("Qwen3-8B, many tokens", programOf(realConfigs["Qwen3-8B"], 64), "sm_90a"),
  jobOf("every op, profiled", everyOp(), "sm_90a", true),
  ...attentionForms.map((form) =>
    jobOf(`attention ${form.headDim}`, attentions([form]), "sm_90a")),
];
let results: readonly (Compiled | Error)[] = [];

beforeAll(async () => {
  results = await compileAll(jobs, folder.path);
}, 600_000);

describe.each(jobs.map(({ name, target }, i) => [name, target, i] as const))(
  "%s for %s",
  (name, target, i) => {
    test("compiles cleanly, without spills", () => {
      const compiled = results[i];
      expectClean(compiled);
      const { decode, seconds } = compiled;
      if (name.startsWith("Qwen3-8B")) expect(seconds).toBeLessThan(45);
      console.log(`${name}, ${target}: ${decode.registers} registers, ${seconds.toFixed(1)} s`);
    });
  },
);

// An H200 lets an arrival overtake loads that nothing has waited for: a stage freed then may be filled anew first.
const isHopper = jobs.map(({ name, target }, i) => [name, target, i] as const)
  .filter(([, target]) => target === "sm_90a");
test.each(isHopper)("%s for %s: no arrival before its loads", (name, _, i) => {
  const compiled = results[i];
  expectClean(compiled);
  const { all, early } = arrivalsOf(compiled.cubin, "mpk_decode");
  console.log(`${name}: ${early.length} of ${all} arrivals before a load has arrived`);
  expect(all).toBeGreaterThan(0);
  expect(early).toEqual([]);
});

test("every op of the table and every target is among them", () => {
  const kinds = new Set(everyOp().ops.map(({ kind }) => kind));
  expect(kinds).toEqual(new Set(semanticsTable.keys()));
  expect(Object.keys(gpus)).toEqual(targets.map(({ name }) => name));
});
