/** @file Random weights: the same bits however they are read, and spread as asked. */
import { bf16FromBits } from "@mpk/ir";
import fc from "fast-check";
import { expect, test } from "vitest";
import { cacheSpread, randomBits, spreadOf, tensorWord } from "../src/random.ts";

const seeds = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

test("any part of a tensor is that part of the whole", () => {
  fc.assert(
    fc.property(seeds, fc.string(), fc.nat(200), fc.nat(200), (seed, tensor, a, b) => {
      const [lo, hi] = [Math.min(a, b), Math.max(a, b)];
      const whole = randomBits(seed, tensor, spreadOf(64), 0, 200);
      expect(randomBits(seed, tensor, spreadOf(64), lo, hi)).toEqual(whole.slice(lo, hi));
    }),
  );
});

test("places beyond 2^32 groups are told apart", () => {
  const at = (lo: number) => randomBits(1n, "w", spreadOf(64), lo, lo + 4);
  expect(at(2 ** 35)).not.toEqual(at(0));
});

test("seed and name each change nearly every element", () => {
  const bits = (seed: bigint, name: string) => randomBits(seed, name, spreadOf(64), 0, 1000);
  for (const other of [bits(2n, "a"), bits(1n + (1n << 40n), "a"), bits(1n, "b")]) {
    const equal = bits(1n, "a").filter((word, i) => word === other[i]).length;
    expect(equal).toBeLessThan(40);
  }
});

test.each([
  ["a matrix of 1024 columns", spreadOf(1024), 0, 1024 ** -0.5],
  ["a gain", spreadOf(1), 1, 0.1],
  ["a cache row", cacheSpread, 0, 1],
])("%s has the mean and deviation asked for", (_, spread, mean, deviation) => {
  const values = Array.from(randomBits(7n, "w", spread, 0, 40_000), bf16FromBits);
  const average = values.reduce((a, b) => a + b, 0) / values.length;
  const square = values.reduce((a, b) => a + (b - average) ** 2, 0) / values.length;
  expect(Math.abs(average - mean)).toBeLessThan(0.02 * deviation);
  expect(Math.abs(Math.sqrt(square) / deviation - 1)).toBeLessThan(0.02);
});

test("the bits are those that bench/random_weights.py makes", () => {
  expect(tensorWord("model.norm.weight")).toBe(0xbe0496c4);
  const bits = randomBits(0x0123_4567_89ab_cdefn, "w", spreadOf(16), 0, 6);
  expect([...bits].map((word) => word.toString(16)).join(" ")).toBe("3ade bd34 3e5c 3ec0 bec5 be97");
});
