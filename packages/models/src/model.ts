/** @file From a Hugging Face config.json to a Program. */
import type { Program } from "@mpk/dsl";
import { readConfig } from "./config.ts";
import type { ModelConfig } from "./config.ts";
import { decoder } from "./decoder.ts";
import { ConfigError } from "./errors.ts";

/** The maxima that the Program declares, in tokens. */
export interface ModelLimits {
  /** Most tokens in one step; 8, or as many as the context holds, where absent. */
  readonly maxTokens?: number;
  /** Most tokens in a sequence; what the model was made for, but at most 4096, where absent. */
  readonly maxContext?: number;
}

/** What a KV cache is sized for unless the caller says: a compromise with memory. */
const defaultContext = 4096;

const defaultTokens = 8;

/** The Program of a configuration. Throws `ConfigError` for limits that the model cannot keep. */
export function buildModel(config: ModelConfig, limits: ModelLimits = {}): Program {
  const { maxContext = Math.min(config.maxPositions, defaultContext) } = limits;
  const { maxTokens = Math.min(defaultTokens, maxContext) } = limits;
  for (const [field, value] of Object.entries({ maxTokens, maxContext })) {
    if (!Number.isInteger(value) || value < 1) {
      throw new ConfigError(field, `is ${value}`, "give a whole number of 1 or more");
    }
  }
  if (maxContext > config.maxPositions) {
    throw new ConfigError(
      "max_position_embeddings",
      `is ${config.maxPositions}, a context of ${maxContext} was asked for`, "ask for less",
    );
  }
  if (maxTokens > maxContext) {
    throw new ConfigError(
      "maxTokens", `${maxTokens} tokens a step are more than a context of ${maxContext} holds`,
      "take fewer tokens a step",
    );
  }
  return decoder(config, { maxTokens, maxContext });
}

/** The Program of a parsed config.json. Throws `ConfigError` naming the field at fault. */
export function modelFromConfig(json: unknown, limits: ModelLimits = {}): Program {
  return buildModel(readConfig(json), limits);
}
