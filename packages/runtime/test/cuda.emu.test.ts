/** @file The CUDA backend through the real C ABI, against a driver of host memory. */
import type { TensorPart, Tools } from "@mpk/cuda/manifest";
import { afterAll, beforeAll, expect, test } from "vitest";
import { tensorWord } from "../src/random.ts";
import { fakeGpu, firstToken, manifest, part, read, vocab, type FakeGpu } from "./fake-gpu.ts";

let gpu: FakeGpu;
beforeAll(async () => void (gpu = await fakeGpu()), 60_000);
afterAll(() => gpu.close());

test("weights, prompt and parameters arrive as the kernel expects; nothing leaks", async () => {
  const before = gpu.held();
  const session = await gpu.open();
  expect(session.device).toEqual({ kind: "cuda", name: "Fake H200" });
  for (const promptIds of [[1, 2, 3], Array.from({ length: 20 }, (_, i) => i * 9)]) {
    const run = session.generate({ promptIds, maxTokens: 5, logits: "all", stamps: true });
    const first = firstToken(promptIds);
    const expected = Array.from({ length: 5 }, (_, i) => (first + i) % vocab);
    expect(await read(run)).toEqual(expected);
    const promptSteps = Math.ceil(promptIds.length / 8);
    const { logits, stampNanos, ...rest } = run.summary();
    expect(rest).toEqual({
      finish: "maxTokens", promptTokens: promptIds.length, tokens: 5, steps: promptSteps + 4,
      millis: 2.5,
    });
    expect(logits.map((row) => [row.length, row[0], row[512]])).toEqual(
      Array.from({ length: 5 }, (_, i) => [vocab, promptSteps - 1 + i, promptSteps - 0.5 + i]),
    );
    expect(stampNanos).toHaveLength(promptSteps + 4);
  }
  const once = session.generate({ promptIds: [1], maxTokens: 9, logits: "lastPrompt" });
  await read(once);
  expect(once.summary().logits).toHaveLength(1);
  await session.close();
  expect(gpu.held()).toEqual(before);
});

test("tokens come while the kernel runs; abort, early exit and EOS end it cleanly", async () => {
  const session = await gpu.open();
  const controller = new AbortController();
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const run = session.generate({ promptIds: [1], maxTokens: 200, signal: controller.signal });
  const got: number[] = [];
  for await (const token of run) {
    got.push(token);
    if (got.length === 4) controller.abort();
  }
  clearInterval(timer);
  expect(run.summary()).toMatchObject({ finish: "stopped", tokens: got.length });
  expect(got.length).toBeLessThan(60);
  expect(ticks).toBeGreaterThan(1);

  const again = session.generate({ promptIds: [1], maxTokens: 200 });
  expect(await read(again, 3)).toEqual(got.slice(0, 3));
  const eos = (firstToken([1]) + 6) % vocab;
  const ended = session.generate({ promptIds: [1], eosIds: [5000 % vocab, eos] });
  expect((await read(ended)).at(-1)).toBe(eos);
  expect(ended.summary()).toMatchObject({ finish: "eos", tokens: 7 });
  const aborted = session.generate({ promptIds: [1], signal: AbortSignal.abort() });
  expect(await read(aborted)).toEqual([]);
  expect(aborted.summary().finish).toBe("stopped");
  await session.close();
});

test("a watchdog's report and a fault are told; after a watchdog the session goes on", async () => {
  const session = await gpu.open();
  gpu.mode("watchdog");
  await expect(read(session.generate({ promptIds: [1], maxTokens: 50 }))).rejects.toMatchObject({
    category: "runtime",
    message:
      "the watchdog ended the kernel: in step 4, SM 17, instruction 5, linear of layers.0.mlp " +
      "(model.ts:9:3) waited for event 9: expected 264, saw 263",
  });
  gpu.mode("normal");
  expect(await read(session.generate({ promptIds: [1], maxTokens: 2 }))).toHaveLength(2);
  gpu.mode("badToken");
  await expect(read(session.generate({ promptIds: [1], maxTokens: 50 }))).rejects.toMatchObject({
    category: "runtime",
    message: expect.stringMatching(
      /^sample, step 2: no token could be chosen: the logits are not numbers \(NaN\)/,
    ),
  });
  gpu.mode("fault");
  await expect(read(session.generate({ promptIds: [1], maxTokens: 50 }))).rejects.toMatchObject({
    category: "runtime",
    message:
      "the kernel ended with an error: cuEventQuery: CUDA_ERROR_700 (700): described by the fake",
  });
  gpu.mode("normal");
  await session.close();
});

test("a profile of the steps asked for comes back, and only then", async () => {
  const session = await gpu.open();
  const before = gpu.held();
  const profile = { firstStep: 2, steps: 3 };
  const run = session.generate({ promptIds: [1, 2], maxTokens: 4, profile });
  await read(run);
  const steps = run.summary().profile?.steps ?? [];
  // Four tokens in four steps: the fifth did not run.
  expect(steps.map(({ step }) => step)).toEqual([2, 3]);
  expect(steps[1]?.sms).toHaveLength(132);
  expect(steps[1]?.sms[131]?.instructions).toMatchObject([
    { sm: 131, instruction: 0, kind: "linear", layer: 0, tileLo: 131, streamedBytes: 8192 },
  ]);
  expect(steps[1]!.sms[0]!.arrived - steps[0]!.sms[0]!.arrived).toBe(10_000);
  const plain = session.generate({ promptIds: [1], maxTokens: 2 });
  await read(plain);
  expect(plain.summary().profile).toBeUndefined();
  expect(gpu.held()).toEqual(before);
  await session.close();
  const { profile: _, ...bare } = manifest;
  const without = await gpu.open(bare);
  await expect(read(without.generate({ promptIds: [1], profile }))).rejects.toMatchObject({
    category: "input", message: "the kernel was compiled without a profile",
  });
  await without.close();
});

test("random weights are made on the device, and memory is probed", async () => {
  const before = gpu.held();
  const tools: Tools = {
    source: "tools", target: "sm_90a",
    entries: { random: "mpk_random", probe: "mpk_read_probe" },
    probe: { chunkBytes: 8192, sharedBytes: 50_000, threads: 32 },
  };
  const session = await gpu.open(manifest, { random: { seed: 0x0123_4567_89ab_cdefn }, tools });
  // The fake kernel's own values, of what it was given.
  const words = ({ tensor, rows, columns }: TensorPart) => {
    const word = (tensorWord(tensor) ^ 0x89ab_cdef ^ 0x0123_4567) >>> 0;
    const elements = Uint16Array.from({ length: rows * columns }, (_, i) => word + i);
    return new Uint8Array(elements.buffer);
  };
  const first = firstToken([1], words);
  expect(await read(session.generate({ promptIds: [1], maxTokens: 1 }))).toEqual([first]);
  await session.fillCache(1n);
  const probed = await session.readBandwidth();
  // What was free of 1 GiB, read in 2.5 ms by the fake's clock.
  expect(probed).toBeGreaterThan(0.3e12);
  expect(probed).toBeLessThan(0.5e12);
  const held = gpu.held();
  const crowd = session.crowd();
  expect(gpu.held().streams).toBe(held.streams + 1);
  expect(await read(session.generate({ promptIds: [1], maxTokens: 1 }))).toEqual([first]);
  while (crowd.finished() < 20) await new Promise((resolve) => setImmediate(resolve));
  await crowd.stop();
  expect(gpu.held()).toEqual(held);
  expect(session.freeBytes()).toBeGreaterThan(0);
  await session.close();
  expect(gpu.held()).toEqual(before);
});

test("a generation may start behind rows that the cache has", async () => {
  const session = await gpu.open();
  const run = session.generate({ promptIds: [1], startPosition: 250 });
  expect(await read(run)).toHaveLength(5);
  expect(run.summary().finish).toBe("contextFull");
  expect(() => session.generate({ promptIds: [1], startPosition: 255 })).toThrow(
    /1 tokens from position 255 on, the context holds 256/,
  );
  expect(() => session.generate({ promptIds: [1], startPosition: -1 })).toThrow(/startPosition/);
  await session.close();
});

test("too large a context, another checkpoint or GPU are refused; nothing leaks", async () => {
  const before = gpu.held();
  const large = { ...manifest, memory: { ...manifest.memory, kvBytes: 2 ** 30 } };
  await expect(gpu.open(large)).rejects.toMatchObject({
    category: "input",
    message: expect.stringMatching(/context of 256 tokens does not fit the GPU: 1024.0 MiB of KV/),
  });
  const [resident] = manifest.resident;
  const wrong = { ...manifest, resident: [{ ...resident!, parts: [part("gain", 25, 1)] }] };
  await expect(gpu.open(wrong)).rejects.toThrow(/"gain" has shape \[24\], expected \[25\]/);
  await expect(gpu.open({ ...manifest, target: "sm_100" })).rejects.toThrow(/sm_100, Fake H200 is/);
  expect(gpu.held()).toEqual(before);
});
