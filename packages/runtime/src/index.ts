/** @file Public surface of the runtime. */
export * from "./errors.ts";
export * from "./convert.ts";
export * from "./safetensors.ts";
export * from "./weights.ts";
export * from "./tokenizer.ts";
