/** @file How a token is chosen from logits, exactly, so that any device chooses the same. Pure. */
import { noToken, type Sampling } from "@mpk/ir";
import { argmaxRun } from "../../shared/rows.ts";
import { philox } from "@mpk/ir";

const f = Math.fround;
/** ln 2 in two parts: the first has so few bits that its multiples up to 2^15 are exact. */
const [ln2High, ln2Low] = [0.693359375, f(Math.LN2 - 0.693359375)];
const log2e = f(Math.LOG2E);
/** 1 / 7!, 1 / 6!, ... 1 / 0!, of the series of exp. */
const series = [5040, 720, 120, 24, 6, 2, 1, 1].map((factorial) => f(1 / factorial));

/**
 * floor(2^32 · exp(x)) for x <= 0, exp within 2^-22 relative, and 0 for NaN or x <= -23.
 *
 * Every operation rounds to float32 and none is fused, so that a device with correctly rounded
 * multiplications and additions gives the same integer: n = floor(x · log2(e) + 0.5);
 * r = (x - n · c1) - n · c2 with c1 = 0.693359375 and c2 = ln 2 - c1; the series of exp in r by
 * Horner's rule, from 1 / 7! down to 1 / 0!; times 2^(32 + n), the fraction dropped.
 */
export function expWeight(x: number): number {
  if (!(x > -23)) return 0;
  const n = Math.floor(f(f(x * log2e) + 0.5));
  const r = f(f(x - f(n * ln2High)) - f(n * ln2Low));
  let y = 0;
  for (const coefficient of series) y = f(f(y * r) + coefficient);
  return Math.floor(y * 2 ** (32 + n));
}

/** One token's probability before normalization, as an integer of at most 2^32. */
interface Candidates {
  /** [V] float32: logits divided by the temperature. */
  readonly scaled: Float32Array;
  /** [V] integers: 0 for a token that cannot be chosen. */
  readonly weights: Float64Array;
}

const sumOf = (weights: Float64Array): number => weights.reduce((sum, weight) => sum + weight, 0);

/** Keeps the tokens whose scaled logit is not below the k-th largest. */
function keepTopK({ scaled, weights }: Candidates, k: number): void {
  if (k === 0 || k >= scaled.length) return;
  const threshold = scaled.toSorted()[scaled.length - k] ?? -Infinity;
  scaled.forEach((value, id) => {
    if (!(value >= threshold)) weights[id] = 0;
  });
}

/** Keeps the tokens that have less than p of the weight before them, the likeliest first. */
function keepTopP({ scaled, weights }: Candidates, p: number): void {
  if (p >= 1) return;
  const limit = p * sumOf(weights);
  const order = Array.from(weights.keys()).filter((id) => (weights[id] ?? 0) > 0);
  order.sort((a, b) => (scaled[b] ?? 0) - (scaled[a] ?? 0) || a - b);
  let before = 0;
  for (const id of order) {
    const weight = weights[id] ?? 0;
    // The likeliest token is kept even when p is 0.
    if (before > 0 && before >= limit) weights[id] = 0;
    before += weight;
  }
}

/**
 * The token chosen from `logits` [V] after the token at `position`.
 *
 * Temperature 0: the id of the largest logit, the lowest id among equals. Here and below -0 equals
 * 0, and NaN is never chosen: `noToken` where there is nothing else. An infinite largest logit is
 * chosen at any temperature.
 *
 * Else, in the order of Hugging Face's processors:
 * 1. s = logit / temperature, a float32 division (temperature rounded to float32 first).
 * 2. The integer weight of a token is `expWeight(s - max s)`, a float32 subtraction.
 * 3. top-k: tokens whose s is below the k-th largest s (duplicates counted) get weight 0; tokens
 *    equal to it stay.
 * 4. top-p: with the tokens by descending s, the lower id first among equals, a token stays if it
 *    is the first or the sum of the weights before it is below p · total (a float64 product;
 *    total: the weights left by 3). Tokens of weight 0 take no part.
 * 5. w0, w1 = the first two words of `philox` with counter (position, 0, 0, 0) and the seed's low
 *    and high word as key. r = floor((w0 · 2^32 + w1) · total' / 2^64), an exact integer (the high
 *    word of a 64 by 64 bit product; total': the weights left by 4).
 * 6. The token is the lowest id for which the sum of the weights of all ids up to it exceeds r.
 *
 * All sums are of integers below 2^53 for up to 2^20 tokens, so they are exact in any order: a
 * device may use any tree of 64-bit additions and gets the same token from the same logits.
 */
export function chooseToken(logits: Float32Array, sampling: Sampling, position: number): number {
  const best = argmaxRun(logits, 0, logits.length);
  const temperature = f(sampling.temperature);
  if (temperature === 0 || best === noToken) return best;
  const scaled = logits.map((logit) => (Number.isNaN(logit) ? -Infinity : logit / temperature));
  const max = scaled[best] ?? 0;
  // Nothing to choose between: all logits are -Infinity, or one overflows.
  if (!Number.isFinite(max)) return best;
  const weights = Float64Array.from(scaled, (value) => expWeight(f(value - max)));
  keepTopK({ scaled, weights }, sampling.topK);
  keepTopP({ scaled, weights }, sampling.topP);
  const rest = drawBelow(sumOf(weights), sampling.seed, position);
  let sum = 0;
  return weights.findIndex((weight) => (sum += weight) > rest);
}

/** A random integer in [0, total), from seed and position alone. */
function drawBelow(total: number, seed: bigint, position: number): number {
  const key = [Number(BigInt.asUintN(32, seed)), Number(BigInt.asUintN(32, seed >> 32n))] as const;
  const [w0, w1] = philox([position, 0, 0, 0], key);
  const random = (BigInt(w0) << 32n) | BigInt(w1);
  return Number((random * BigInt(total)) >> 64n);
}
