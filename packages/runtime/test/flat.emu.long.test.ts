/** @file Memory of a process that generates thousands of times, over a driver of host memory. */
import { expect, test } from "vitest";
import { fakeGpu, read } from "./fake-gpu.ts";

const [generations, every, mostGrowth] = [6000, 50, 16 * 2 ** 20];

test(`${generations} generations, read to their end or left, keep nothing`, async () => {
  const gpu = await fakeGpu();
  const before = gpu.held();
  const session = await gpu.open();
  const resident: number[] = [];
  for (let i = 0; i < generations; i++) {
    const wantsLogits = i % every === 0 ? ({ logits: "all" } as const) : {};
    const run = session.generate({
      promptIds: [1, 2, 3, i % 50], maxTokens: 12, stamps: i % 3 === 0, ...wantsLogits,
    });
    await read(run, i % 7 === 0 ? 3 : undefined);
    if (i % every === 0) resident.push(process.memoryUsage().rss);
  }
  await session.close();
  expect(gpu.held()).toEqual(before);
  gpu.close();
  // The least of each part: what a collector has not looked at yet is not kept.
  const least = (from: number, to: number): number =>
    Math.min(...resident.slice(from * resident.length, to * resident.length));
  const grown = least(0.6, 1) - least(0.1, 0.5);
  console.log(`from the first half to the second: ${(grown / 2 ** 20).toFixed(1)} MiB more`);
  expect(grown).toBeLessThan(mostGrowth);
}, 600_000);
