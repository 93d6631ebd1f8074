/** @file Mistral: Llama with one sliding window for all layers. */
import type { Family } from "./family.ts";

export const mistral: Family = Object.freeze<Family>({
  name: "mistral",
  architecture: "MistralForCausalLM",
  modelType: "mistral",
  defaults: {
    vocab_size: 32000, hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32,
    num_attention_heads: 32, num_key_value_heads: 8, head_dim: null, hidden_act: "silu",
    max_position_embeddings: 4096 * 32, rms_norm_eps: 1e-6, tie_word_embeddings: false,
    rope_theta: 10000, bos_token_id: 1, eos_token_id: 2,
  },
  traits: () => ({ qkvBias: false, outputBias: false, mlpBias: false, qkNorm: false }),
  // Left out means 4096; null, as in the later releases, means none.
  windows: (raw, layers) => Array.from(
    { length: layers }, () => (raw.sliding_window === undefined ? 4096 : raw.sliding_window),
  ),
});
