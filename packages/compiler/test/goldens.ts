/** @file Holds what a device generates to what transformers computes from the same weights. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openWeights, toFloat32 } from "@mpk/runtime";
import { expect } from "vitest";
import { open, type OpenOptions } from "../src/index.ts";

const root = join(import.meta.dirname, "..", "..", "..");
const goldenRoot = join(root, "packages", "models", "goldens");
export const kjv = join(root, "examples", "checkpoints", "kjv-llama");

/** Checkpoints of every family, with odd sizes. */
export const families: readonly string[] = readdirSync(goldenRoot, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name);

interface Golden {
  readonly promptIds: readonly number[];
  readonly greedyIds: readonly number[];
  /** Per token, the float32 gap between the two best logits. */
  readonly topGaps: readonly number[];
}

export interface KjvGolden extends Golden {
  readonly prompt: string;
  readonly greedyText: string;
  readonly lastPromptLogits: readonly number[];
}

const readJson = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));

/** Float32 logits of transformers after the prompt and after each token but the last. */
async function referenceLogits(folder: string): Promise<readonly Float32Array[]> {
  const file = join(folder, "golden.safetensors");
  const weights = await openWeights(file);
  const tensor = weights.tensor("step_logits");
  const [rows = 0, columns = 0] = tensor.shape;
  const all = toFloat32(tensor.read(), "F32");
  weights.close();
  return Array.from({ length: rows }, (_, i) => all.slice(i * columns, (i + 1) * columns));
}

/** ‖got − wanted‖ / ‖wanted‖ over all rows. */
export function relativeError(
  got: readonly ArrayLike<number>[],
  wanted: readonly ArrayLike<number>[],
): number {
  let [difference, size] = [0, 0];
  wanted.forEach((row, r) => {
    for (let i = 0; i < row.length; i++) {
      difference += ((got[r]?.[i] ?? NaN) - (row[i] ?? NaN)) ** 2;
      size += (row[i] ?? NaN) ** 2;
    }
  });
  return Math.sqrt(difference / size);
}

const largestError = (got: ArrayLike<number>, wanted: ArrayLike<number>): number =>
  Array.from(wanted).reduce((worst, x, i) => Math.max(worst, Math.abs((got[i] ?? NaN) - x)), 0);

/**
 * Generates a family's golden text on a device: tokens are the golden's wherever the gap of the
 * two best logits exceeds the error made there, and logits are within `bound`, as far as the
 * texts are the same.
 */
export async function expectGolden(
  family: string,
  bound: number,
  options: OpenOptions,
): Promise<void> {
  const folder = join(goldenRoot, family);
  const golden = readJson(join(folder, "golden.json")) as Golden;
  const reference = await referenceLogits(folder);
  await using model = await open(folder, options);
  const { promptIds, greedyIds } = golden;
  const maxTokens = greedyIds.length;
  const run = model.session.generate({ promptIds, maxTokens, logits: "all", eosIds: [] });
  const tokens: number[] = [];
  for await (const token of run) tokens.push(token);
  const { logits } = run.summary();
  expect(logits).toHaveLength(maxTokens);
  const differs = tokens.findIndex((token, i) => token !== greedyIds[i]);
  const same = differs < 0 ? maxTokens : differs + 1;
  expect(relativeError(logits, reference.slice(0, same))).toBeLessThan(bound);
  if (differs < 0) return;
  const error = largestError(logits[differs] ?? [], reference[differs] ?? []);
  expect(golden.topGaps[differs]).toBeLessThanOrEqual(2 * error);
}

/** The shipped checkpoint's golden texts, by transformers in float32. */
export const kjvGoldens = (readJson(join(kjv, "goldens.json")) as { prompts: KjvGolden[] }).prompts;
