/** @file Every CUDA error at every driver call: told with its fix, nothing held, the next one works. */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fakeGpu, type FakeGpu } from "./fake-gpu.ts";
import { callsOfALife, check, codes, generate, life } from "./fault-life.ts";

let gpu: FakeGpu;
beforeAll(async () => void (gpu = await fakeGpu()), 60_000);
afterAll(() => gpu.close());

test("every driver call may fail with every error", async () => {
  const calls = await callsOfALife(gpu);
  expect(calls.length).toBeGreaterThan(25);
  // Each call once with some code, its first and its last occurrence, then any of all of them.
  for (const [call, count] of calls) {
    for (const nth of new Set([1, count])) await check(gpu, { call, nth, code: 719, sticky: false });
  }
  const anyCall = fc.constantFrom(...calls).chain(([call, count]) =>
    fc.record({
      call: fc.constant(call),
      nth: fc.integer({ min: 1, max: Math.min(count, 40) }),
      code: fc.constantFrom(...codes),
      sticky: fc.boolean(),
    }),
  );
  await fc.assert(fc.asyncProperty(anyCall, (fault) => check(gpu, fault)), { numRuns: 40 });
  expect(await life(gpu)).toEqual([]);
}, 120_000);

test("a kernel's fault ends the context: the session tells it, the next one works", async () => {
  gpu.plant(null);
  const session = await gpu.open();
  gpu.mode("fault");
  await expect(generate(session)).rejects.toThrow(/cuEventQuery: CUDA_ERROR_700 \(700\)/);
  await expect(generate(session)).rejects.toThrow(/CUDA_ERROR_700/);
  await session.close();
  expect(await life(gpu)).toEqual([]);
});
