/** @file Writes small random checkpoints in Hugging Face form, whole or spoilt, for the tests. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bf16BitsOf } from "@mpk/ir";
import {
  byteLevelTokenizer,
  safetensorsBytes,
  type TestTensor,
} from "../../runtime/test/build.ts";

export const tinyConfig = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 259,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 16,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  bos_token_id: 258,
  eos_token_id: 257,
  dtype: "bfloat16",
};

/** Names and shapes of the tensors that `tinyConfig` calls for. */
export function tinyShapes(): Readonly<Record<string, readonly number[]>> {
  const { vocab_size: vocab, hidden_size: hidden, intermediate_size: inner } = tinyConfig;
  const [queries, keys] = [2 * 16, 16];
  const layer = (i: number) => ({
    [`model.layers.${i}.input_layernorm.weight`]: [hidden],
    [`model.layers.${i}.post_attention_layernorm.weight`]: [hidden],
    [`model.layers.${i}.self_attn.q_proj.weight`]: [queries, hidden],
    [`model.layers.${i}.self_attn.k_proj.weight`]: [keys, hidden],
    [`model.layers.${i}.self_attn.v_proj.weight`]: [keys, hidden],
    [`model.layers.${i}.self_attn.o_proj.weight`]: [hidden, queries],
    [`model.layers.${i}.mlp.gate_proj.weight`]: [inner, hidden],
    [`model.layers.${i}.mlp.up_proj.weight`]: [inner, hidden],
    [`model.layers.${i}.mlp.down_proj.weight`]: [hidden, inner],
  });
  return {
    "model.embed_tokens.weight": [vocab, hidden],
    ...layer(0),
    ...layer(1),
    "model.norm.weight": [hidden],
    "lm_head.weight": [vocab, hidden],
  };
}

/** Reproducible numbers in [-1, 1). */
function noise(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

export function tinyTensors(): Record<string, TestTensor> {
  const next = noise(7);
  const entries = Object.entries(tinyShapes()).map(([name, shape]) => {
    const isGain = shape.length === 1;
    const scale = isGain ? 0.2 : 1 / Math.sqrt(shape[1] ?? 1);
    const words = Uint16Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () =>
      bf16BitsOf((isGain ? 1 : 0) + scale * next()),
    );
    return [name, { dtype: "BF16", shape, bytes: new Uint8Array(words.buffer) }] as const;
  });
  return Object.fromEntries(entries);
}

/** What to write in place of the good files. */
export interface Spoilt {
  readonly config?: object;
  readonly tensors?: (good: Record<string, TestTensor>) => Record<string, TestTensor>;
  /** Of the weights file's bytes. */
  readonly cut?: number;
  readonly leaveOut?: readonly ("config.json" | "model.safetensors" | "tokenizer.json")[];
}

/** Writes a checkpoint folder and gives its path. */
export function writeCheckpoint(folder: string, spoilt: Spoilt = {}): string {
  const { config = tinyConfig, tensors = (good) => good, leaveOut = [] } = spoilt;
  const weights = safetensorsBytes(tensors(tinyTensors()));
  const files = {
    "config.json": JSON.stringify(config),
    "model.safetensors": weights.subarray(0, spoilt.cut ?? weights.length),
    "tokenizer.json": JSON.stringify(byteLevelTokenizer()),
  };
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    if (!(leaveOut as readonly string[]).includes(name)) writeFileSync(join(folder, name), content);
  }
  return folder;
}
