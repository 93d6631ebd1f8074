/** @file Qwen2 / 2.5 (biases on q, k, v) and Qwen3 (norms on q and k; its own head_dim). */
import { ConfigError, shown } from "./errors.ts";
import type { Family, FamilyDefaults } from "./family.ts";
import type { RawConfig } from "./schema.ts";

const defaults: FamilyDefaults = {
  vocab_size: 151936, hidden_size: 4096, intermediate_size: 22016, num_hidden_layers: 32,
  num_attention_heads: 32, num_key_value_heads: 32, head_dim: null, hidden_act: "silu",
  max_position_embeddings: 32768, rms_norm_eps: 1e-6, tie_word_embeddings: false,
  rope_theta: 10000, bos_token_id: null, eos_token_id: null,
};

/** Either the layers at `max_window_layers` and above slide, or `layer_types` lists which do. */
function windows(raw: RawConfig, layers: number): readonly (number | null)[] {
  const given = raw.sliding_window === undefined ? 4096 : raw.sliding_window;
  const window = raw.use_sliding_window === true ? given : null;
  const from = raw.max_window_layers ?? 28;
  const types = raw.layer_types ?? Array.from(
    { length: layers },
    (_, i) => (window !== null && i >= from ? "sliding_attention" : "full_attention"),
  );
  if (types.length !== layers) {
    throw new ConfigError(
      "layer_types", `lists ${types.length} layers, num_hidden_layers is ${layers}`,
      "make them agree",
    );
  }
  return types.map((type, i) => {
    if (type === "full_attention") return null;
    if (type !== "sliding_attention") {
      throw new ConfigError(
        `layer_types.${i}`, `${shown(type)} is not supported`,
        "supported: full_attention, sliding_attention",
      );
    }
    if (window !== null) return window;
    throw new ConfigError(
      `layer_types.${i}`, "is sliding_attention, but there is no window",
      "set use_sliding_window to true and sliding_window to its size",
    );
  });
}

export const qwen2: Family = Object.freeze<Family>({
  name: "qwen2",
  architecture: "Qwen2ForCausalLM",
  modelType: "qwen2",
  defaults,
  traits: () => ({ qkvBias: true, outputBias: false, mlpBias: false, qkNorm: false }),
  windows,
});

export const qwen3: Family = Object.freeze<Family>({
  name: "qwen3",
  architecture: "Qwen3ForCausalLM",
  modelType: "qwen3",
  defaults: { ...defaults, head_dim: 128 },
  traits: (raw) => ({
    qkvBias: raw.attention_bias ?? false,
    outputBias: raw.attention_bias ?? false,
    mlpBias: false,
    qkNorm: true,
  }),
  windows,
});
