/** @file A GPU that no longer answers ends no process: it is told, soon, and nothing waits for it. */
import { ControlWord, controlWords, lostMillisOf, watchdogNanosOf } from "@mpk/cuda/manifest";
import { afterAll, beforeAll, expect, test } from "vitest";
import { standstill } from "../src/cuda/lost.ts";
import { fakeGpu, manifest, read, type FakeGpu } from "./fake-gpu.ts";
import { life } from "./fault-life.ts";

let gpu: FakeGpu;
beforeAll(async () => void (gpu = await fakeGpu()), 60_000);
afterAll(() => gpu.close());

test.each([
  ["stuck", /^the GPU stopped answering: 3 steps are done and for 300 ms nothing has come/],
  // One SM never comes back, although the kernel's own watchdog has told why.
  ["deaf", /^the watchdog ended the kernel: in step 4, SM 17, .* of layers.0.mlp .*; then the GPU stopped/],
] as const)("a kernel that is %s: told within its time, closing does not wait", async (mode, says) => {
  const session = await gpu.open(manifest, { lostMillis: 300 });
  gpu.mode(mode);
  const start = performance.now();
  await expect(read(session.generate({ promptIds: [1], maxTokens: 50 }))).rejects.toMatchObject({
    category: "runtime", message: expect.stringMatching(says),
  });
  // What is asked of it later is refused at once.
  await expect(read(session.generate({ promptIds: [1] }))).rejects.toThrow(/stopped answering/);
  await session.close();
  expect(performance.now() - start).toBeLessThan(5000);
  expect(gpu.held().freedBusy).toBe(0);
  // The test's own way to what a process's end does.
  gpu.mode("normal");
  gpu.releaseContext();
  expect(await life(gpu)).toEqual([]);
});

test("a reader who leaves a stuck kernel is told too", async () => {
  const session = await gpu.open(manifest, { lostMillis: 200 });
  gpu.mode("stuck");
  // It never ends once it has given three.
  const left = read(session.generate({ promptIds: [1], maxTokens: 50 }), 3);
  await expect(left).rejects.toThrow(/stopped answering/);
  await session.close();
  gpu.mode("normal");
  gpu.releaseContext();
});

test("only a kernel that has begun and stands still is lost", () => {
  const control = new Uint32Array(controlWords);
  let now = 0;
  const isLost = standstill(control, 100, () => now);
  const at = (time: number) => ((now = time), isLost());
  // Not begun: other work may be before it.
  expect([at(0), at(1000), at(100_000)]).toEqual([false, false, false]);
  control[ControlWord.steps] = 1;
  expect([at(100_001), at(100_101), at(100_102)]).toEqual([false, false, true]);
  control[ControlWord.steps] = 2;
  expect([at(100_103), at(100_200)]).toEqual([false, false]);
});

test("the time grows with what a step may take, and with the watchdog", () => {
  const { limits } = manifest;
  const own = watchdogNanosOf(limits);
  expect(lostMillisOf(limits, own)).toBeGreaterThan(2 * Number(own) / 1e6);
  const long = { ...manifest, limits: { ...limits, maxTokens: 64, maxContext: 131_072 } };
  expect(lostMillisOf(long.limits, watchdogNanosOf(long.limits))).toBeGreaterThan(1e6);
  expect(lostMillisOf(limits, 3_600_000_000_000n)).toBeGreaterThan(7_200_000);
});
