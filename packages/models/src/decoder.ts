/** @file The dense decoder that Llama, Qwen and Mistral share, written in the DSL. */
import { defineModel } from "@mpk/dsl";
import type { LayerScope, Positions, Program, Scope, Tensor } from "@mpk/dsl";
import type { ModelConfig } from "./config.ts";

/** One value a column for each token of the step. Sizes come from a file, so they are `number`. */
type Activations = Tensor<readonly ["T", number]>;

/** x times `name.weight` [outputs, inputs], plus `name.bias` if there is one. */
function project(
  scope: Scope, name: string, x: Activations, outputs: number, bias: boolean,
): Activations {
  const inputs = x.shape[1];
  const product = x.matmul(scope.weight(`${name}.weight`, [outputs, inputs]));
  return bias ? product.add(scope.weight(`${name}.bias`, [outputs])) : product;
}

function attention(
  config: ModelConfig, layer: LayerScope, x: Activations, positions: Positions,
): Activations {
  const { heads, kvHeads, headDim, qkvBias, normEps: eps } = config;
  const window = config.windows[layer.index] ?? null;
  const cache = layer.kvCache({ kvHeads, headDim });
  return layer.scope("self_attn", (self) => {
    const rotated = (part: "q" | "k", count: number): Activations => {
      const flat = project(self, `${part}_proj`, x, count * headDim, qkvBias);
      const normed = config.qkNorm
        ? flat.rmsNorm(self.weight(`${part}_norm.weight`, [headDim]), { eps, width: headDim })
        : flat;
      return normed.rope(positions, { headDim, ...config.rope });
    };
    const queries = rotated("q", heads);
    const keys = rotated("k", kvHeads);
    const values = project(self, "v_proj", x, kvHeads * headDim, qkvBias);
    const mixed = queries.attention(keys, values, cache, { positions, window });
    return project(self, "o_proj", mixed, config.hiddenSize, config.outputBias);
  });
}

function mlp(config: ModelConfig, layer: LayerScope, x: Activations): Activations {
  const { intermediateSize, hiddenSize, activation, mlpBias } = config;
  return layer.scope("mlp", (self) => {
    const gate = project(self, "gate_proj", x, intermediateSize, mlpBias);
    const up = project(self, "up_proj", x, intermediateSize, mlpBias);
    return project(self, "down_proj", gate.gated(activation, up), hiddenSize, mlpBias);
  });
}

/**
 * The Program of one decoding step: logits f32 [1, vocabulary] of the step's last token, and the
 * token chosen from them. Weight names are those of Hugging Face checkpoints.
 */
export function decoder(config: ModelConfig, limits: Program["limits"]): Program {
  const { vocabSize, hiddenSize, normEps: eps } = config;
  return defineModel({ name: config.family, limits }, (m) => {
    const table = m.weight("model.embed_tokens.weight", [vocabSize, hiddenSize]);
    const positions = m.positions();
    const embedded: Activations = table.lookup(m.ids());
    const hidden = m.layers(config.layers, embedded, (layer, x) => {
      const norm = (name: string, of: Activations): Activations =>
        of.rmsNorm(layer.weight(`${name}.weight`, [hiddenSize]), { eps });
      const mixed = x.add(attention(config, layer, norm("input_layernorm", x), positions));
      return mixed.add(mlp(config, layer, norm("post_attention_layernorm", mixed)));
    });
    const head = config.tiedEmbeddings ? table
      : m.weight("lm_head.weight", [vocabSize, hiddenSize]);
    const final = hidden.last().rmsNorm(m.weight("model.norm.weight", [hiddenSize]), { eps });
    const logits = final.matmul(head);
    return { logits, token: logits.sample() };
  });
}
