/** @file What distinguishes one model family from another: a record per family. Types only. */
import type { RawConfig } from "./schema.ts";

/** What Hugging Face takes for fields that a config.json leaves out. */
export interface FamilyDefaults {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  /** Null: as many as there are attention heads. */
  readonly num_key_value_heads: number | null;
  /** Null: hidden_size / num_attention_heads. */
  readonly head_dim: number | null;
  readonly hidden_act: string;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly tie_word_embeddings: boolean;
  readonly rope_theta: number;
  readonly bos_token_id: number | null;
  readonly eos_token_id: number | null;
}

/** Where a family's layers differ from plain Llama. */
export interface FamilyTraits {
  /** q, k and v projections have biases. */
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** An RMS norm over each head of q and k, before RoPE. */
  readonly qkNorm: boolean;
}

/** One architecture: how its config.json is read, and which parts its layers have. */
export interface Family {
  readonly name: string;
  /** As in config.json's `architectures`. */
  readonly architecture: string;
  /** As in config.json's `model_type`. */
  readonly modelType: string;
  readonly defaults: FamilyDefaults;
  traits(raw: RawConfig): FamilyTraits;
  /** Per layer, how many tokens a token sees (itself included), or null for all. */
  windows(raw: RawConfig, layers: number): readonly (number | null)[];
}
