/** @file Llama 1, 2 and 3.x: the plain decoder; biases where the file asks for them. */
import type { Family } from "./family.ts";

export const llama: Family = Object.freeze<Family>({
  name: "llama",
  architecture: "LlamaForCausalLM",
  modelType: "llama",
  defaults: {
    vocab_size: 32000, hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: 32,
    num_attention_heads: 32, num_key_value_heads: null, head_dim: null, hidden_act: "silu",
    max_position_embeddings: 2048, rms_norm_eps: 1e-6, tie_word_embeddings: false,
    rope_theta: 10000, bos_token_id: 1, eos_token_id: 2,
  },
  traits: (raw) => ({
    qkvBias: raw.attention_bias ?? false,
    outputBias: raw.attention_bias ?? false,
    mlpBias: raw.mlp_bias ?? false,
    qkNorm: false,
  }),
  windows: (_raw, layers) => Array.from({ length: layers }, () => null),
});
