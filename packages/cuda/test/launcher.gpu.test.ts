/** @file The trained checkpoint through the C API: tokens and logits as transformers has them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { compile, compileFiles } from "@mpk/compiler";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findNvcc } from "../../../scripts/tiers.ts";
import { run, runCleanly, testFolder, writeFolder } from "./launcher/build.ts";

const folder = testFolder("launcher-gpu");
afterAll(() => folder.remove());
const at = (name: string): string => join(folder.path, name);
const checkpoint = join(import.meta.dirname, "../../../examples/checkpoints/kjv-llama");
const nvcc = findNvcc();

interface Golden {
  readonly promptIds: readonly number[];
  readonly greedyIds: readonly number[];
  /** Gap of the two best float32 logits at each generated token. */
  readonly topGaps: readonly number[];
  readonly lastPromptLogits: readonly number[];
}

const { prompts } = JSON.parse(readFileSync(join(checkpoint, "goldens.json"), "utf8")) as {
  readonly prompts: readonly Golden[];
};

/** Tokens before the first whose choice bf16 rounding may change. */
const clearTokens = ({ greedyIds, topGaps }: Golden): readonly number[] => {
  const tie = topGaps.findIndex((gap) => gap < 0.05);
  return tie < 0 ? greedyIds : greedyIds.slice(0, tie);
};

/** sm_90a for 9.0: Hopper is the one chip that has an "a" target here. */
function targetHere(): string {
  const query = ["--query-gpu=compute_cap", "--format=csv,noheader"];
  const [capability = ""] = run("nvidia-smi", query).stdout.trim().split("\n");
  const plain = `sm_${capability.replace(".", "")}`;
  return plain === "sm_90" ? "sm_90a" : plain;
}

beforeAll(async () => {
  if (nvcc === null) return;
  const target = targetHere();
  const compiled = await compile(checkpoint, { target, sms: 32 });
  writeFolder(folder.path, compileFiles(compiled));
  const flags = ["-O3", "-std=c++17", `-arch=${target}`];
  const files = ["kernel.cu", "mpk_launcher.cpp", "mpk_model.cpp"];
  runCleanly(nvcc, [...flags, "-c", ...files], folder.path);
  const objects = ["kernel.o", "mpk_launcher.o", "mpk_model.o"];
  const probe = join(import.meta.dirname, "launcher", "probe.cpp");
  for (const [source, program] of [["example_main.cpp", "example"], [probe, "probe"]] as const) {
    runCleanly(nvcc, [...flags, "-I.", "-o", program, source, ...objects], folder.path);
  }
}, 300_000);

test.skipIf(nvcc === null)("the example prints what transformers generates", () => {
  for (const golden of prompts) {
    const { code, stdout, stderr } = run(at("example"), [
      checkpoint, golden.promptIds.join(","), "200",
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/^200 tokens, /) });
    const ids = stdout.trim().split("\n").map(Number);
    expect(ids).toHaveLength(200);
    const clear = clearTokens(golden);
    expect(ids.slice(0, clear.length)).toEqual(clear);
  }
});

interface Probed {
  readonly [name: string]: readonly number[];
}

test.skipIf(nvcc === null)("logits, step times, reruns, sampling and stopping", () => {
  const [golden] = prompts;
  if (golden === undefined) throw new Error("no golden prompt");
  const args = [checkpoint, ...golden.promptIds.map(String)];
  const probed = JSON.parse(runCleanly(at("probe"), args)) as Probed & {
    readonly kernelMillis: number;
    readonly steps: number;
    readonly finish: number;
  };
  expect(probed["again"]).toEqual(probed["greedy"]);
  const reference = golden.lastPromptLogits;
  const square = (list: readonly number[]) => list.reduce((sum, x) => sum + x * x, 0);
  const error = (probed["logits"] ?? []).map((x, i) => x - (reference[i] ?? 0));
  expect(Math.sqrt(square(error) / square(reference))).toBeLessThan(2e-2);
  // Five prompt tokens are one step; each step takes its part of the launch.
  expect(probed.steps).toBe(200);
  const times = probed["stepNanos"] ?? [];
  expect(times).toHaveLength(199);
  expect(Math.min(...times)).toBeGreaterThan(0);
  const total = times.reduce((a, b) => a + b, 0) / 1e6;
  expect(total).toBeLessThanOrEqual(probed.kernelMillis);
  expect(total).toBeGreaterThan(0.8 * probed.kernelMillis);
  expect(probed["sampledAgain"]).toEqual(probed["sampled"]);
  expect(probed["sampled"]).not.toEqual(probed["greedy"]?.slice(0, 32));
  expect(probed["stopped"]).toEqual(probed["greedy"]?.slice(0, 3));
  expect(probed.finish).toBe(3);
});
