/** @file Public surface: shape-typed tensors that write a Program. */
export type { Program } from "@mpk/ir";
export { defineModel } from "./model.ts";
export type { ModelOptions } from "./model.ts";
export { parseMapFunction } from "./map.ts";
export type { MappedFunction } from "./map.ts";
export type {
  Activation, AttentionOptions, KvCache, KvSize, LayerScope, Model, NormOptions, Positions,
  RopeOptions, Scope, Tensor, TokenIds, Weight,
} from "./tensor.ts";
export type { RopeScaling } from "@mpk/ops/semantics";
export type { Dim, DType, Problem, Shape } from "./shapes.ts";
