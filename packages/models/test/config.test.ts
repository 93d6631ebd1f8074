/** @file config.json: Hugging Face's defaults, old and new spellings, and what is refused. */
import { verifyProgram } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops/semantics";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError, buildModel, families, modelFromConfig, readConfig } from "@mpk/models";
import type { Family, ModelConfig } from "@mpk/models";
import { hfDefaults } from "./golden.ts";

type Fields = Readonly<Record<string, unknown>>;

const sizes = {
  vocab_size: 509, hidden_size: 96, intermediate_size: 128, num_hidden_layers: 2,
  num_attention_heads: 6, num_key_value_heads: 2,
};
const config = (fields: Fields = {}, architecture = "LlamaForCausalLM"): Fields => ({
  architectures: [architecture], ...sizes, ...fields,
});

function errorOf(json: unknown): ConfigError {
  try {
    modelFromConfig(json);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error("the config was accepted");
}

/** Our reading, in Hugging Face's names. */
const inTheirNames = (c: ModelConfig): Fields => ({
  vocab_size: c.vocabSize,
  hidden_size: c.hiddenSize,
  intermediate_size: c.intermediateSize,
  num_hidden_layers: c.layers,
  num_attention_heads: c.heads,
  num_key_value_heads: c.kvHeads,
  head_dim: c.headDim,
  max_position_embeddings: c.maxPositions,
  rms_norm_eps: c.normEps,
  tie_word_embeddings: c.tiedEmbeddings,
  hidden_act: c.activation,
  bos_token_id: c.bosTokenIds[0] ?? null,
  eos_token_id: c.eosTokenIds[0] ?? null,
  dtype: c.dtype,
  layer_types: c.windows.map((w) => (w === null ? "full_attention" : "sliding_attention")),
  sliding_window: c.windows.find((w) => w !== null) ?? null,
});

describe.each(families)("$name", (family: Family) => {
  it("has the defaults of transformers' config class", () => {
    const theirs = hfDefaults.defaults[family.architecture.replace("ForCausalLM", "Config")] ?? {};
    const ours = inTheirNames(readConfig({ architectures: [family.architecture] }));
    for (const [field, value] of Object.entries(ours)) {
      if (field in theirs) expect([field, value]).toEqual([field, theirs[field]]);
    }
    const rope = theirs["rope_parameters"] as { rope_theta: number };
    expect(readConfig({ model_type: family.modelType }).rope)
      .toEqual({ theta: rope.rope_theta, scaling: { kind: "none" } });
  });
});

describe("partial configs", () => {
  const looked = hfDefaults.probes.filter(({ gives }) => gives !== undefined);
  it.each(looked)("$model_type $given mean what transformers makes of them", (probe) => {
    const { model_type, given, gives = {} } = probe;
    const family = families.find((f) => f.modelType === model_type)!;
    // The probes give some sizes only; the others are filled in, since they would be refused.
    const { vocab_size, hidden_size, intermediate_size, num_hidden_layers } = family.defaults;
    const { num_attention_heads } = family.defaults;
    const json = {
      model_type, vocab_size, hidden_size, intermediate_size, num_hidden_layers,
      num_attention_heads, ..."num_key_value_heads" in gives ? {} : { num_key_value_heads: 1 },
      ...given,
    };
    // Contradictions that transformers finds only when the model runs.
    const kv = gives["num_key_value_heads"];
    if (typeof kv === "number" && json.num_attention_heads % kv !== 0) {
      expect(errorOf(json).field).toBe("num_key_value_heads");
      return;
    }
    if (gives["sliding_window"] === null && String(gives["layer_types"]).includes("sliding")) {
      expect(errorOf(json).field).toMatch(/^layer_types/);
      return;
    }
    const read = readConfig(json);
    const theirs = inTheirNames(read);
    for (const [field, value] of Object.entries(gives)) {
      if (typeof value === "string" || value === null) continue;
      if (field === "rope_parameters") checkRope(read, value as Fields);
      else if (field === "sliding_window") {
        const slides = model_type !== "llama" && read.windows.some((w) => w !== null);
        if (slides) expect(theirs[field]).toBe(value);
      } else expect([field, theirs[field]]).toEqual([field, value]);
    }
  });

  function checkRope({ rope }: ModelConfig, theirs: Fields): void {
    expect(rope.theta).toBe(theirs["rope_theta"]);
    const { kind } = rope.scaling;
    expect(kind === "none" ? "default" : kind).toBe(theirs["rope_type"]);
    if (kind !== "none") expect(rope.scaling.factor).toBe(theirs["factor"]);
    if (kind === "llama3") {
      expect(rope.scaling.originalContext).toBe(theirs["original_max_position_embeddings"]);
    }
  }

  it("read old and new spellings of one model alike", () => {
    const scaling = { factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
    const original = { original_max_position_embeddings: 32 };
    fc.assert(fc.property(
      fc.double({ min: 1, max: 1e7, noNaN: true }),
      fc.constantFrom("default", "linear", "llama3"),
      fc.constantFrom("bfloat16", "float16", "float32"),
      (theta, type, dtype) => {
        const old = config({
          rope_theta: theta, torch_dtype: dtype, rope_scaling: { type, ...scaling, ...original },
        });
        const modern = config({
          dtype, rope_parameters: { rope_type: type, rope_theta: theta, ...scaling, ...original },
        });
        expect(readConfig(old)).toEqual(readConfig(modern));
      },
    ));
  });
});

it("gives a valid Program for every family at any sizes", () => {
  const size = fc.integer({ min: 1, max: 40 });
  fc.assert(fc.property(
    fc.constantFrom(...families), size, size, size, fc.integer({ min: 1, max: 3 }),
    fc.constantFrom([6, 1], [6, 2], [6, 6], [4, 4], [1, 1]), fc.integer({ min: 1, max: 17 }),
    fc.record({
      tie_word_embeddings: fc.boolean(), attention_bias: fc.boolean(), mlp_bias: fc.boolean(),
      use_sliding_window: fc.boolean(), sliding_window: fc.option(size),
      max_window_layers: fc.nat(3),
      hidden_act: fc.constantFrom("silu", "gelu", "gelu_pytorch_tanh", "relu"),
    }),
    (family, vocab, hidden, inner, layers, [heads, kvHeads], half, rest) => {
      const program = modelFromConfig({
        architectures: [family.architecture], vocab_size: vocab, hidden_size: hidden,
        intermediate_size: inner, num_hidden_layers: layers, num_attention_heads: heads,
        num_key_value_heads: kvHeads, head_dim: 2 * half, ...rest,
      });
      expect(verifyProgram(program, semanticsTable)).toEqual([]);
      const { logits, token } = program.outputs;
      expect(program.values[logits ?? -1]?.type).toEqual({ dtype: "f32", shape: [1, vocab] });
      expect(program.values[token ?? -1]?.type).toEqual({ dtype: "i32", shape: [1] });
      expect(program.states).toHaveLength(layers);
    },
  ), { numRuns: 60 });
});

describe("readConfig refuses", () => {
  const cases: readonly (readonly [string, Fields, RegExp])[] = [
    ["architectures", { ...sizes }, /is missing.*LlamaForCausalLM/],
    ["architectures", config({}, "GPT2LMHeadModel"), /unknown .* "GPT2LMHeadModel".*Qwen3/],
    ["model_type", config({ model_type: "qwen2" }), /architectures says Llama.*"llama"/],
    ["model_type", { ...sizes, model_type: "bert" }, /unknown model "bert"/],
    ["hidden_size", config({ hidden_size: "96" }), /expected a whole number from 1, got "96"/],
    ["vocab_size", config({ vocab_size: 0 }), /vocab_size.*0/],
    ["hidden_size", config({ hidden_size: undefined }), /is missing.*default of 4096.*add it/],
    ["num_hidden_layers", config({ num_hidden_layers: undefined }), /is missing/],
    ["num_hidden_layers", config({ num_hidden_layers: null }), /a whole number from 1, got null/],
    ["num_key_value_heads", config({ num_key_value_heads: 4 }), /is 4, .*not divide the 6/],
    ["num_key_value_heads", config({ num_key_value_heads: undefined }, "MistralForCausalLM"),
      /is 8 \(left out: mistral's default\)/],
    ["head_dim", config({ hidden_size: 100 }), /is missing, and hidden_size 100 is not divisible/],
    ["head_dim", config({ head_dim: 15 }), /15.*even/],
    ["hidden_act", config({ hidden_act: "mish" }), /"mish" is not supported.*silu/],
    ["rope_scaling.rope_type", config({ rope_scaling: { type: "yarn" } }), /"yarn".*llama3/],
    [
      "rope_scaling.rope_type",
      config({ rope_scaling: { rope_type: "longrope", short_factor: [1], long_factor: [2] } }),
      /"longrope".*llama3/,
    ],
    ["rms_norm_eps", config({ rms_norm_eps: Infinity }), /got Infinity/],
    ["rope_scaling.factor", config({ rope_scaling: { type: "linear" } }), /is missing/],
    ["rope_parameters.high_freq_factor", config({
      rope_parameters: { rope_type: "llama3", factor: 8, low_freq_factor: 4, high_freq_factor: 1 },
    }), /is 1, low_freq_factor is 4/],
    ["rope_parameters.full_attention", config({
      rope_parameters: { full_attention: { rope_theta: 1e4 } },
    }), /per layer type/],
    ["partial_rotary_factor", config({ partial_rotary_factor: 0.5 }), /0\.5 is not supported/],
    ["rms_norm_eps", config({ rms_norm_eps: 0 }), /rms_norm_eps/],
    ["torch_dtype", config({ torch_dtype: "float8_e4m3fn" }), /float8.*bfloat16/],
    ["quantization_config", config({ quantization_config: { bits: 4 } }), /bf16 original/],
    ["layer_types", config({ layer_types: ["full_attention"] }, "Qwen3ForCausalLM"),
      /lists 1 layers/],
    ["layer_types.1", config(
      { layer_types: ["full_attention", "linear_attention"] }, "Qwen3ForCausalLM",
    ), /"linear_attention" is not supported/],
  ];
  it.each(cases)("%s", (field, json, text) => {
    const error = errorOf(json);
    expect(error.field).toBe(field);
    expect(error.message).toContain(field);
    expect(error.message).toMatch(text);
  });

  it("any field of any other type, in our words", () => {
    const fields = Object.keys(config({
      rope_scaling: {}, layer_types: [], head_dim: 1, bos_token_id: 1, eos_token_id: 1, dtype: "",
      architectures: [], model_type: "", hidden_act: "", tie_word_embeddings: true,
    }));
    const foreign = /invalid|too (small|big)|unrecognized|NaN/i;
    fc.assert(fc.property(fc.constantFrom(...fields), fc.jsonValue(), (field, value) => {
      fc.pre(!foreign.test(JSON.stringify(value))); // errors quote the file
      try {
        readConfig(config({ [field]: value }));
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigError);
        expect((error as Error).message).not.toMatch(foreign);
      }
    }), { numRuns: 500 });
  });

  it("anything that is not an object", () => {
    for (const json of [null, 3, "llama", []]) expect(() => readConfig(json)).toThrow(ConfigError);
  });

  it("limits that the model cannot keep", () => {
    const read = readConfig(config({ max_position_embeddings: 64 }));
    expect(() => buildModel(read, { maxContext: 65 })).toThrow(/context of 65/);
    expect(() => buildModel(read, { maxTokens: 0 })).toThrow(/maxTokens.*0/);
    expect(() => buildModel(read, { maxTokens: 9, maxContext: 8 })).toThrow(/9 tokens.*context of 8/);
    expect(buildModel(read).limits).toEqual({ maxTokens: 8, maxContext: 64 });
    expect(buildModel(read, { maxContext: 3 }).limits).toEqual({ maxTokens: 3, maxContext: 3 });
    const long = modelFromConfig(config({ max_position_embeddings: 131072 }));
    expect(long.limits.maxContext).toBe(4096);
  });
});

it("leaves out special tokens that the vocabulary does not have", () => {
  const read = readConfig(config({ eos_token_id: [2, 509, 151645] }));
  expect(read.eosTokenIds).toEqual([2]);
});
