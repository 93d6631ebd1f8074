/** @file The fields of a Hugging Face config.json that matter here, and their types. */
import { z } from "zod";
import { ConfigError, shown } from "./errors.ts";

/** What is expected of a field, as `error` of its type: zod's own wording is not for users. */
const want = (what: string) => ({ error: `expected ${what}` });

const positiveInt = z.int(want("a whole number from 1")).positive(want("a whole number from 1"));
const size = positiveInt.optional();
/** Null is "none" in Hugging Face's files, which is not the same as leaving the field out. */
const sizeOrNull = positiveInt.nullish();
const idOrIds = want("a token id or a list of them");
const tokenIds = z.union([z.int(idOrIds), z.array(z.int(idOrIds), idOrIds)], idOrIds).nullish();
const number = z.number(want("a number"));
const positive = number.positive(want("a number above 0"));
const text = z.string(want("a text in quotes"));
const flag = z.boolean(want("true or false"));
const texts = z.array(text, want("a list of texts"));

const ropeSchema = z.looseObject({
  rope_type: text.optional(),
  /** The older name of `rope_type`. */
  type: text.optional(),
  rope_theta: positive.optional(),
  factor: positive.optional(),
  low_freq_factor: positive.optional(),
  high_freq_factor: positive.optional(),
  original_max_position_embeddings: size,
  partial_rotary_factor: number.optional(),
}, want("an object of settings"));

/** Ten times the deepest model there is: a typing error must not build a Program for hours. */
const layerCount = positiveInt.max(2000, want("a whole number from 1 to 2000")).optional();

const configSchema = z.looseObject({
  architectures: texts.nullish(),
  model_type: text.optional(),
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: layerCount,
  num_attention_heads: size,
  num_key_value_heads: sizeOrNull,
  head_dim: sizeOrNull,
  hidden_act: text.optional(),
  max_position_embeddings: size,
  rms_norm_eps: positive.optional(),
  tie_word_embeddings: flag.optional(),
  rope_theta: positive.nullish(),
  rope_scaling: ropeSchema.nullish(),
  rope_parameters: ropeSchema.nullish(),
  partial_rotary_factor: number.nullish(),
  attention_bias: flag.optional(),
  mlp_bias: flag.optional(),
  sliding_window: sizeOrNull,
  use_sliding_window: flag.optional(),
  max_window_layers: z.int(want("a whole number from 0")).nonnegative(want("a whole number from 0"))
    .optional(),
  layer_types: texts.nullish(),
  bos_token_id: tokenIds,
  eos_token_id: tokenIds,
  dtype: text.nullish(),
  torch_dtype: text.nullish(),
  quantization_config: z.unknown().optional(),
}, want("an object in braces"));

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
  throw new ConfigError(
    path.join(".") || "the file",
    `${issue?.message ?? "malformed"}, got ${shown(valueAt(json, path))}`,
    "take the file as published with the checkpoint",
  );
}
