/** @file Reads a Hugging Face config.json into a complete, checked model configuration. */
import type { Activation } from "@mpk/dsl";
import { ConfigError, shown } from "./errors.ts";
import type { Family, FamilyTraits } from "./family.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { qwen2, qwen3 } from "./qwen.ts";
import { readRope } from "./rope.ts";
import type { RopeConfig } from "./rope.ts";
import { parseRaw } from "./schema.ts";
import type { RawConfig } from "./schema.ts";

/** Every family there is, by its Hugging Face architecture. */
export const families: readonly Family[] = Object.freeze([llama, mistral, qwen2, qwen3]);

/** Number format of the checkpoint's tensors. Kernels stream bf16; the others are converted. */
export type CheckpointDType = "bf16" | "f16" | "f32";

/** A decoder's sizes and settings: every default filled in, every contradiction ruled out. */
export interface ModelConfig extends FamilyTraits {
  readonly family: string;
  readonly architecture: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly activation: Activation;
  readonly normEps: number;
  /** Positions the model was made for. */
  readonly maxPositions: number;
  readonly rope: RopeConfig;
  readonly tiedEmbeddings: boolean;
  /** Per layer, how many tokens a token sees (itself included), or null for all. */
  readonly windows: readonly (number | null)[];
  readonly bosTokenIds: readonly number[];
  readonly eosTokenIds: readonly number[];
  /** As the file declares it, or null; the tensors' own format decides. */
  readonly dtype: CheckpointDType | null;
}

const activations: Readonly<Record<string, Activation>> = {
  silu: "silu", swish: "silu", gelu: "gelu", gelu_new: "geluTanh", gelu_pytorch_tanh: "geluTanh",
  relu: "relu",
};

const dtypes: Readonly<Record<string, CheckpointDType>> = {
  bfloat16: "bf16", float16: "f16", float32: "f32",
};

const sizeFields = [
  "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
] as const;

const own = <T>(table: Readonly<Record<string, T>>, key: string): T | undefined =>
  Object.hasOwn(table, key) ? table[key] : undefined;

const listed = (items: Iterable<string>): string => [...items].join(", ");

function familyOf(raw: RawConfig): Family {
  const supported = `supported: ${listed(families.map((f) => f.architecture))}`;
  const architecture = raw.architectures?.[0];
  if (architecture === undefined) {
    const byType = families.find((f) => f.modelType === raw.model_type);
    if (byType) return byType;
    if (raw.model_type === undefined) {
      throw new ConfigError("architectures", "is missing", `name the model's; ${supported}`);
    }
    throw new ConfigError("model_type", `unknown model ${shown(raw.model_type)}`, supported);
  }
  const family = families.find((f) => f.architecture === architecture);
  if (!family) {
    throw new ConfigError(
      "architectures", `unknown architecture ${shown(architecture)}`, supported,
    );
  }
  if (raw.model_type !== undefined && raw.model_type !== family.modelType) {
    throw new ConfigError(
      "model_type", `is ${shown(raw.model_type)}, but architectures says ${architecture}`,
      `write ${shown(family.modelType)}`,
    );
  }
  return family;
}

/**
 * The sizes. A default is the size of one published model: it is taken only if all sizes given
 * are that model's too, since a guess beside other sizes could only be wrong.
 */
function sizesOf(raw: RawConfig, family: Family): Record<(typeof sizeFields)[number], number> {
  const sizes = { ...family.defaults };
  const missing = sizeFields.find((field) => raw[field] === undefined);
  for (const field of sizeFields) {
    const given = raw[field];
    if (given === undefined) continue;
    if (missing && given !== family.defaults[field]) {
      throw new ConfigError(
        missing, `is missing, and ${field} ${given} shows that ${family.name}'s default of `
          + `${family.defaults[missing]} is not meant`, "add it",
      );
    }
    sizes[field] = given;
  }
  return sizes;
}

function headsOf(
  raw: RawConfig, family: Family, hidden: number, heads: number,
): { kvHeads: number; headDim: number } {
  const given = raw.num_key_value_heads;
  const kvHeads = (given === undefined ? family.defaults.num_key_value_heads : given) ?? heads;
  if (heads % kvHeads !== 0) {
    const origin = given === undefined ? ` (left out: ${family.name}'s default)` : "";
    throw new ConfigError(
      "num_key_value_heads", `is ${kvHeads}${origin}, which does not divide the ${heads} of `
        + "num_attention_heads", "make it a divisor",
    );
  }
  const explicit = raw.head_dim === undefined ? family.defaults.head_dim : raw.head_dim;
  if (explicit === null && hidden % heads !== 0) {
    throw new ConfigError(
      "head_dim", `is missing, and hidden_size ${hidden} is not divisible by num_attention_heads `
        + `${heads}`, "add head_dim, or correct these two",
    );
  }
  const headDim = explicit ?? hidden / heads;
  if (headDim % 2 !== 0) {
    throw new ConfigError(
      "head_dim", `is ${headDim}; rotary embeddings need pairs`, "make it even",
    );
  }
  return { kvHeads, headDim };
}

function activationOf(raw: RawConfig, family: Family): Activation {
  const name = raw.hidden_act ?? family.defaults.hidden_act;
  const activation = own(activations, name);
  if (activation) return activation;
  throw new ConfigError(
    "hidden_act", `${shown(name)} is not supported`,
    `supported: ${listed(Object.keys(activations))}`,
  );
}

function dtypeOf(raw: RawConfig): CheckpointDType | null {
  const field = (raw.dtype ?? null) === null ? "torch_dtype" : "dtype";
  const name = raw[field] ?? "auto";
  if (name === "auto") return null;
  const dtype = own(dtypes, name.replace(/^torch\./, ""));
  if (dtype) return dtype;
  throw new ConfigError(
    field, `${shown(name)} is not supported`, `supported: ${listed(Object.keys(dtypes))}`,
  );
}

/** Ids beyond the vocabulary, which files copied from a larger model have, can never come up. */
function specialIds(
  raw: RawConfig, field: "bos_token_id" | "eos_token_id", family: Family, vocab: number,
): readonly number[] {
  const given = (raw[field] === undefined ? family.defaults[field] : raw[field]) ?? [];
  const ids = Array.isArray(given) ? given : [given];
  return ids.filter((id) => id >= 0 && id < vocab);
}

/**
 * The configuration that a parsed config.json means, with the family's own defaults (those of
 * Hugging Face transformers 5) for fields left out. Throws `ConfigError` naming the field.
 */
export function readConfig(json: unknown): ModelConfig {
  const raw = parseRaw(json);
  const family = familyOf(raw);
  if ((raw.quantization_config ?? null) !== null) {
    throw new ConfigError(
      "quantization_config", "quantized checkpoints are not supported", "use the bf16 original",
    );
  }
  const sizes = sizesOf(raw, family);
  const maxPositions = raw.max_position_embeddings ?? family.defaults.max_position_embeddings;
  return Object.freeze({
    family: family.name,
    architecture: family.architecture,
    vocabSize: sizes.vocab_size,
    hiddenSize: sizes.hidden_size,
    intermediateSize: sizes.intermediate_size,
    layers: sizes.num_hidden_layers,
    heads: sizes.num_attention_heads,
    ...headsOf(raw, family, sizes.hidden_size, sizes.num_attention_heads),
    activation: activationOf(raw, family),
    normEps: raw.rms_norm_eps ?? family.defaults.rms_norm_eps,
    maxPositions,
    rope: readRope(raw, family.defaults.rope_theta, maxPositions),
    tiedEmbeddings: raw.tie_word_embeddings ?? family.defaults.tie_word_embeddings,
    ...family.traits(raw),
    windows: family.windows(raw, sizes.num_hidden_layers),
    bosTokenIds: specialIds(raw, "bos_token_id", family, sizes.vocab_size),
    eosTokenIds: specialIds(raw, "eos_token_id", family, sizes.vocab_size),
    dtype: dtypeOf(raw),
  });
}
