/** @file The fields of a Hugging Face config.json that matter here, and their types. */
import { z } from "zod";
import { ConfigError, shown } from "./errors.ts";

const size = z.int().positive().optional();
/** Null is "none" in Hugging Face's files, which is not the same as leaving the field out. */
const sizeOrNull = z.int().positive().nullish();
const tokenIds = z.union([z.int(), z.array(z.int())]).nullish();

const ropeSchema = z.looseObject({
  rope_type: z.string().optional(),
  /** The older name of `rope_type`. */
  type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
  factor: z.number().positive().optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: z.int().positive().optional(),
  partial_rotary_factor: z.number().optional(),
});

/** Ten times the deepest model there is: a typing error must not build a Program for hours. */
const layerCount = z.int().positive().max(2000).optional();

const configSchema = z.looseObject({
  architectures: z.array(z.string()).nullish(),
  model_type: z.string().optional(),
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: layerCount,
  num_attention_heads: size,
  num_key_value_heads: sizeOrNull,
  head_dim: sizeOrNull,
  hidden_act: z.string().optional(),
  max_position_embeddings: size,
  rms_norm_eps: z.number().positive().optional(),
  tie_word_embeddings: z.boolean().optional(),
  rope_theta: z.number().positive().nullish(),
  rope_scaling: ropeSchema.nullish(),
  rope_parameters: ropeSchema.nullish(),
  partial_rotary_factor: z.number().nullish(),
  attention_bias: z.boolean().optional(),
  mlp_bias: z.boolean().optional(),
  sliding_window: sizeOrNull,
  use_sliding_window: z.boolean().optional(),
  max_window_layers: z.int().nonnegative().optional(),
  layer_types: z.array(z.string()).nullish(),
  bos_token_id: tokenIds,
  eos_token_id: tokenIds,
  dtype: z.string().nullish(),
  torch_dtype: z.string().nullish(),
  quantization_config: z.unknown().optional(),
});

/** A config.json with its fields' types checked; every field may be absent. */
export type RawConfig = z.infer<typeof configSchema>;
export type RawRope = z.infer<typeof ropeSchema>;

function valueAt(json: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (at, key) => (typeof at === "object" && at !== null ? Reflect.get(at, key) : undefined), json,
  );
}

/** Checks field types. Throws `ConfigError` naming the first field that has a wrong one. */
export function parseRaw(json: unknown): RawConfig {
  const result = configSchema.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue?.path ?? [];
  const expected = issue?.message.replace(/^Invalid input: /, "").replace(/^Too small: /, "");
  throw new ConfigError(
    path.join(".") || "the file", `${expected ?? "malformed"}, found ${shown(valueAt(json, path))}`,
    "take the file as published with the checkpoint",
  );
}
