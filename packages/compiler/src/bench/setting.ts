/** @file What one measurement is asked for, as data: a model at a context and a number of tokens. Pure. */
import type { AttentionChoice } from "../passes.ts";

export interface BenchSetting {
  /** A checkpoint folder, a config.json, or a shape by its name. */
  readonly model: string;
  /** Tokens before the first measured one. */
  readonly context: number;
  /** 1: one token decoded a step. More: steps of so many prompt tokens. */
  readonly tokensPerStep: number;
  /** Measured tokens of one launch. */
  readonly tokens: number;
  /** Launches that count; their tokens must be equal. */
  readonly reruns: number;
  /** Tokens of one more launch that goes on as long; 0: there is none. */
  readonly longTokens: number;
  /**
   * How the context comes into the cache. `each`: every launch reads it as a prompt. `once`: the first
   * does, the others start behind it. `random`: rows are made at random, and logits mean nothing.
   */
  readonly reads: "each" | "once" | "random";
  /** Prompt tokens that a step of the kernel may take in; null: the compiler's own choice. */
  readonly promptChunk: number | null;
  /** null: the compiler's own choice. */
  readonly attention: AttentionChoice | null;
  /** Of random weights. */
  readonly seed: bigint;
  /** Take what `mpk tune` found. */
  readonly tuned: boolean;
  /** Time PyTorch on the same weights. */
  readonly wantsTorch: boolean;
  /** Hold logits to transformers on the same weights. */
  readonly wantsFidelity: boolean;
}

/** Longer contexts are not read unless asked for: a read of many steps comes before every launch. */
const longestRead = 512;

/** What is asked for where nothing else is said. */
export function settingOf(
  given: Partial<BenchSetting> & Pick<BenchSetting, "model">,
): BenchSetting {
  const { context = 64 } = given;
  return {
    context, tokensPerStep: 1, tokens: 128, reruns: 20, longTokens: 0,
    reads: context <= longestRead ? "each" : "random",
    promptChunk: null, attention: null, seed: 1n, tuned: true, wantsTorch: false,
    wantsFidelity: false, ...given,
  };
}

/** A setting as text: two that give the same text ask for the same. Also how it is stored. */
export const settingText = (setting: BenchSetting): string =>
  Object.entries(setting).map(([name, value]) => `${name} ${String(value)}`).toSorted().join(", ");

const decode = { longTokens: 1000, wantsTorch: true, wantsFidelity: true } as const;
const long = { wantsTorch: true, wantsFidelity: true, reads: "once" } as const;

/** What docs/performance.md is made of, part by part. */
const parts: Readonly<Record<string, readonly BenchSetting[]>> = {
  decode: [
    ...["qwen3-8b", "llama-3.2-1b", "qwen3-0.6b", "llama-3.2-3b", "qwen3-1.7b"].map((model) =>
      settingOf({ model, ...decode })),
    settingOf({ model: "llama-3.1-70b-40-layers", wantsTorch: true, wantsFidelity: true }),
  ],
  contexts: [4096, 16_384].flatMap((context) => ["qwen3-8b", "llama-3.2-1b"].map((model) =>
    settingOf({ model, context, ...long }))),
  steps: [8, 16, 32, 64].map((tokensPerStep) =>
    settingOf({ model: "qwen3-8b", tokensPerStep, wantsFidelity: true })),
  prompt: [8, 64].map((promptChunk) => settingOf({
    model: "qwen3-8b", context: 2048, promptChunk, reads: "each", reruns: 4, tokens: 64,
    wantsFidelity: true,
  })),
};

export const suiteNames: readonly string[] = ["page", ...Object.keys(parts)];

/** The settings of a suite: `page` has all parts. @throws RangeError for another name. */
export function suite(name: string): readonly BenchSetting[] {
  const found = name === "page"
    ? Object.values(parts).flat()
    : Object.hasOwn(parts, name) ? parts[name] : undefined;
  if (found === undefined) throw new RangeError(`no suite ${name}`);
  return found;
}
