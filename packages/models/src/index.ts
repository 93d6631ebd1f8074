/** @file Public surface: Llama, Qwen and Mistral from a Hugging Face config.json. */
export { families, readConfig } from "./config.ts";
export type { CheckpointDType, ModelConfig } from "./config.ts";
export { ConfigError, shown } from "./errors.ts";
export type { Family, FamilyDefaults, FamilyTraits } from "./family.ts";
export { buildModel, modelFromConfig } from "./model.ts";
export type { ModelLimits } from "./model.ts";
export type { RopeConfig } from "./rope.ts";
export { knownShapes, tokenBytes } from "./shapes.ts";
export type { KnownShape, TokenBytes } from "./shapes.ts";
