/** @file Public models by name, as config.json contents, and the bytes that a token must read. */
import { readFileSync } from "node:fs";
import type { ModelConfig } from "./config.ts";

/** A public model's shape, for random weights: nothing of the model itself. */
export interface KnownShape {
  /** As people write it. */
  readonly title: string;
  /** Contents of a config.json. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** What `mpk bench` and bench/*.py call by name; weights are random there, only sizes matter. */
export function knownShapes(): Readonly<Record<string, KnownShape>> {
  const text = readFileSync(new URL("./shapes.json", import.meta.url), "utf8");
  return JSON.parse(text) as Readonly<Record<string, KnownShape>>;
}

/** Bytes that decoding one token must read. */
export interface TokenBytes {
  /** Every linear's weights once, the vocabulary's too; embedding rows and gains not counted. */
  readonly weights: number;
  /** Cached keys and values of a sequence of `context` tokens, as far as its windows reach. */
  readonly cache: number;
}

/** Bytes of bf16 that one token decoded behind `context` others must read, whatever the plan. */
export function tokenBytes(config: ModelConfig, context: number): TokenBytes {
  const { hiddenSize: h, heads, kvHeads, headDim, intermediateSize, layers, vocabSize } = config;
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  const layer = h * (q + 2 * kv) + q * h + 3 * h * intermediateSize;
  const seen = Array.from({ length: layers }, (_, i) => {
    const window = config.windows[i] ?? null;
    return window === null ? context : Math.min(context, window - 1);
  });
  return {
    weights: 2 * (layers * layer + h * vocabSize),
    cache: 2 * 2 * kv * seen.reduce((sum, tokens) => sum + tokens, 0),
  };
}
