/** @file config.json of the models whose kernels are compiled: real shapes, and small ones. */
import { readdirSync, readFileSync } from "node:fs";
import { modelFromConfig } from "@mpk/models";
import { runPasses, splitAttention, type Program } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops";
import { passed } from "./programs.ts";

const goldens = new URL("../../../models/goldens/", import.meta.url);

/** The small checkpoints that hold every family to transformers. */
export function goldenConfigs(): readonly (readonly [name: string, config: unknown])[] {
  const folders = readdirSync(goldens, { withFileTypes: true }).filter((it) => it.isDirectory());
  return folders.map(({ name }) => {
    const text = readFileSync(new URL(`${name}/config.json`, goldens), "utf8");
    return [name, JSON.parse(text)] as const;
  });
}

const llama = {
  architectures: ["LlamaForCausalLM"], model_type: "llama", vocab_size: 128256,
  max_position_embeddings: 131072, rms_norm_eps: 1e-5, rope_theta: 5e5, tie_word_embeddings: false,
};
const qwen3 = {
  architectures: ["Qwen3ForCausalLM"], model_type: "qwen3", vocab_size: 151936, head_dim: 128,
  max_position_embeddings: 40960, rms_norm_eps: 1e-6, rope_theta: 1e6, tie_word_embeddings: false,
};
const qwen2 = {
  architectures: ["Qwen2ForCausalLM"], model_type: "qwen2", vocab_size: 151936,
  max_position_embeddings: 32768, rms_norm_eps: 1e-6, rope_theta: 1e6, tie_word_embeddings: true,
};
const mistral = {
  architectures: ["MistralForCausalLM"], model_type: "mistral", vocab_size: 32000,
  max_position_embeddings: 32768, rms_norm_eps: 1e-5, rope_theta: 10000, sliding_window: 4096,
  tie_word_embeddings: false,
};

const sizes = (
  hidden_size: number, intermediate_size: number, num_hidden_layers: number,
  num_attention_heads: number, num_key_value_heads: number,
) => ({
  hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads,
});

/** Shapes as published. */
export const realConfigs = {
  "Llama-3.2-1B": { ...llama, ...sizes(2048, 8192, 16, 32, 8), head_dim: 64 },
  "Llama-3.2-3B": { ...llama, ...sizes(3072, 8192, 28, 24, 8), head_dim: 128 },
  "Llama-3.1-8B": { ...llama, ...sizes(4096, 14336, 32, 32, 8) },
  "Llama-3.1-70B": { ...llama, ...sizes(8192, 28672, 80, 64, 8) },
  "Qwen3-0.6B": { ...qwen3, ...sizes(1024, 3072, 28, 16, 8) },
  "Qwen3-8B": { ...qwen3, ...sizes(4096, 12288, 36, 32, 8) },
  "Qwen2.5-0.5B": { ...qwen2, ...sizes(896, 4864, 24, 14, 2) },
  "Mistral-7B": { ...mistral, ...sizes(4096, 14336, 32, 32, 8) },
} as const satisfies Record<string, object>;

/** A model's Program after all passes. */
export const programOf = (config: unknown, maxTokens = 8): Program =>
  passed(modelFromConfig(config, { maxTokens }));

/** The same with attention in parts of the context. */
export const splitProgramOf = (config: unknown, sms: number, maxTokens = 8): Program =>
  runPasses(programOf(config, maxTokens), semanticsTable, [splitAttention(sms)]);
