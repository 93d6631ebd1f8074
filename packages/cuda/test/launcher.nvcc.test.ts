/**
 * @file The launcher as a C++ program: it compiles and links against kernels without a warning,
 * and on a GPU of host memory it packs, generates, refuses and fails as mpk.h says.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findNvcc } from "../../../scripts/tiers.ts";
import { paramsAsC } from "../src/manifest.ts";
import {
  expectedResident, expectedStream, run, runCleanly, safetensorsBytes, testFolder, tinyManifest,
  tinyTensors, writeFolder, writeLauncher,
} from "./launcher/build.ts";

const folder = testFolder("launcher-nvcc");
afterAll(() => folder.remove());
const nvcc = findNvcc() ?? "nvcc";
const at = (name: string): string => join(folder.path, name);
const fixture = (name: string): string => join(import.meta.dirname, "launcher", name);
const strict = ["-std=c++17", "-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra,-Werror"];
const tensors = tinyTensors();

/** Kernels of the emitted source's names and parameters that do nothing. */
const emptyKernels = `
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned u32; typedef int i32;
typedef unsigned long long u64;
${paramsAsC()}
extern "C" __global__ void mpk_decode(const __grid_constant__ Params) {}
extern "C" __global__ void mpk_pack(u8*, const u32*, const u16*, const u16*, const u16*,
  const u16*, const u16*, const u16*, const u16*, const u16*, u32, u32, u32, u32, u32, u32, u32, u32) {}
`;

beforeAll(() => {
  writeLauncher(folder.path);
  writeFolder(at("checkpoint"), {
    "model.safetensors": safetensorsBytes(tensors),
    "config.json": '{"eos_token_id": [30, 31]}',
  });
});

test("the example links with the kernels; without a GPU it says so", () => {
  writeFileSync(at("kernel.cu"), emptyKernels);
  const files = ["kernel.cu", "mpk_launcher.cpp", "mpk_model.cpp", "example_main.cpp"];
  const flags = ["-arch=sm_90a", ...strict, "-o", at("example")];
  runCleanly(nvcc, [...flags, ...files], folder.path);
  const usage = run(at("example"), [at("checkpoint"), "1,x"]);
  expect(usage).toMatchObject({ code: 2, stderr: expect.stringContaining("usage:") as string });
  const missing = run(at("example"), [at("nowhere"), "1"]);
  expect(missing.stderr).toMatch(/^error: .*nowhere: No such file or directory\n$/);
  const unseen = run("env", ["CUDA_VISIBLE_DEVICES=", at("example"), at("checkpoint"), "1,2,3"]);
  expect(unseen.code).toBe(1);
  expect(unseen.stderr).toMatch(/^error: looking for a GPU: /);
}, 180_000);

describe("on a GPU of host memory", () => {
  beforeAll(() => {
    const sources = ["fake_cuda.cpp", "host.cpp"].map(fixture);
    const launcher = ["mpk_launcher.cpp", "mpk_model.cpp"].map(at);
    const sanitizers = "-g,-O1,-fsanitize=address,-fsanitize=undefined,-fno-sanitize-recover=all";
    const flags = [...strict, "-Xcompiler", sanitizers, "--cudart", "none", "-I", folder.path];
    runCleanly(nvcc, [...flags, ...sources, ...launcher, "-o", at("host")], folder.path);
  }, 180_000);

  const lines = (scenario: string): string[] =>
    runCleanly(at("host"), [scenario, at("checkpoint")]).trim().split("\n");

  test("weights arrive as the schedule packs them, parameters and outputs as asked", () => {
    const said = new Map(lines("outputs").map((line) => {
      const [name = "", ...rest] = line.split(" ");
      return [name, rest.join(" ")] as const;
    }));
    expect(said.get("stream")).toBe(expectedStream(tinyManifest, tensors));
    expect(said.get("resident")).toBe(expectedResident(tinyManifest, tensors));
    expect(said.get("pages")).toBe("00000000010000000200000003000000");
    // Five prompt tokens in steps of two; the sum of the prompt is 15.
    expect(said.get("tokens")).toBe("15 18 21 24");
    expect(said.get("summary")).toBe("1 4 6 1.5");
    expect(said.get("logits")).toBe("2000 2031");
    expect(said.get("nanos")).toBe("5000 5010 5020 5030");
    expect(said.get("params")).toBe("0.5 7 0.25 fedcba9876543210 5 2 0 4 1201280000");
    expect(said.get("eos")).toBe("2 30 31");
    // The caller's current device is as it was.
    expect(said.get("dirty")).toBe("0 device 3");
    expect(said.get("live")).toBe("0");
  });

  test("a generation ends as asked, for its reason, and the next one works", () => {
    const watchdog =
      "4 the watchdog ended the kernel: in step 2, SM 7, instruction 11, linear of " +
      'layers.0 "a" (model.ts:3:5) waited for event 42: expected 6, saw 5; on a slow or ' +
      "shared GPU raise watchdog_nanos";
    expect(lines("endings")).toEqual([
      "code 0 ", "summary 1 3 5 1.5", "tokens 15 18 21",
      "code 0 ", "summary 2 6 8 1.5", "tokens 15 18 21 24 27 30",
      "code 0 ", "summary 2 3 5 1.5", "tokens 15 18 21",
      "code 0 ", expect.stringMatching(/^summary 3 3 /), "tokens 15 18 21",
      "code 1 from the callback", "tokens",
      "inner 6 the model is generating already; wait, or open a second one",
      "code 0 ", expect.stringMatching(/^summary 3 1 /), "tokens",
      `code ${watchdog}`, "tokens",
      expect.stringMatching(/^code 4 sample, step 3: no token could be chosen/), "tokens",
      "code 5 running the kernel: made to fail (cudaErrorFake)", "tokens",
      "code 0 ", "summary 1 1 3 1.5", "tokens",
      "live 0",
    ]);
  });

  test("wrong requests are refused", () => {
    expect(lines("refusals")).toEqual([
      "1 max_tokens is negative; 0 is until the end",
      "1 temperature is -1.000000, expected 0 (greedy) or more",
      "1 top_k is negative; 0 is off",
      "1 top_p is 0.000000, expected a number in (0, 1]",
      "1 eos_count is 9, expected 0 to 8",
      "1 eos_ids is NULL",
      "1 prompt token 1 is 1000, outside the vocabulary 0..31",
      "1 the prompt is empty; give at least one token, such as the BOS token",
      "1 the prompt has 64 tokens, the context holds 64 with at least one generated token",
      "live 0",
    ]);
  });

  test("a GPU that does not fit is refused before anything is allocated", () => {
    expect(lines("misfits")).toEqual([
      "refused 2 the kernel is for sm_90a, the GPU is sm_91; compile with --target sm_91",
      "refused 2 the kernel is for sm_90a, the GPU is sm_80; compile with --target sm_80",
      "refused 2 the kernel needs 2 SMs at once, the GPU has 1; compile with --sms 1",
      expect.stringMatching(/^refused 3 64.1 MiB of GPU memory needed, 64.0 MiB are free: weights/),
      expect.stringMatching(/^opened 0/),
    ]);
  });

  test("a kernel that never ends is told in its time, and left alone", () => {
    const start = performance.now();
    const gone = "the GPU stopped answering: 3 steps are done and for 200 ms nothing has come, ";
    const again = expect.stringMatching(/^code 7 the GPU stopped answering in a generation before/);
    expect(lines("lost")).toEqual([
      expect.stringContaining(`code 7 ${gone}`), "tokens 9", again, "tokens", "freed 0",
      expect.stringMatching(/^code 7 the watchdog ended the kernel: in step 2, SM 7, .*; then the GPU/),
      "tokens 9", again, "tokens", "freed 0",
      "code 1 from the callback", "tokens", again, "tokens", "freed 0",
      "code 0 ", "summary 1 5 7 1.5", "tokens", "code 0 ", "summary 1 5 7 1.5",
      "tokens 15 18 21 24 27", "freed 0",
    ]);
    expect(performance.now() - start).toBeLessThan(10_000);
  });

  test("whichever CUDA call fails, its error comes out and nothing stays allocated", () => {
    const [counts = ""] = lines("faults");
    const [, opens, generations, silent, leaks] =
      /^opens (\d+) generations (\d+) silent (\d+) leaks (\d+)$/.exec(counts)?.map(Number) ?? [];
    expect({ silent, leaks }).toEqual({ silent: 0, leaks: 0 });
    expect(opens).toBeGreaterThan(50);
    expect(generations).toBeGreaterThan(10);
  });
});
