/** @file Every CUDA error at every driver call, once and for good, until the time is spent. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { longSeconds } from "../../../scripts/long.ts";
import { fakeGpu, type FakeGpu } from "./fake-gpu.ts";
import { callsOfALife, check, codes, life } from "./fault-life.ts";

let gpu: FakeGpu;
beforeAll(async () => void (gpu = await fakeGpu()), 60_000);
afterAll(() => gpu.close());

test("all calls, all codes", async () => {
  const calls = await callsOfALife(gpu);
  const faults = codes.flatMap((code, i) =>
    calls.flatMap(([call, count]) =>
      [false, true].map((sticky) => ({ call, nth: 1 + (i % Math.min(count, 20)), code, sticky })),
    ),
  );
  const end = performance.now() + 1000 * longSeconds(240);
  let done = 0;
  for (const fault of faults) {
    if (performance.now() > end) break;
    await check(gpu, fault);
    done++;
  }
  console.log(`${done} of ${faults.length} faults: ${codes.length} codes at ${calls.length} calls`);
  expect(done).toBeGreaterThan(0);
  expect(await life(gpu)).toEqual([]);
}, 3_600_000);
