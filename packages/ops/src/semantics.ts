/** @file What ops mean, alone: needs nothing of the scheduler or the emitter. */
import type { SemanticsTable } from "@mpk/ir";
import { opTable } from "./table.ts";

/** The semantics of each op by name. */
export const semanticsTable: SemanticsTable = new Map(
  opTable.map(({ semantics }) => [semantics.name, semantics]),
);

export type { AllReduceAttrs } from "./ops/allReduce/semantics.ts";
export type { ArgmaxAttrs } from "./ops/argmax/semantics.ts";
export type { AttentionAttrs } from "./ops/attention/semantics.ts";
export type { AttentionMergeAttrs } from "./ops/attentionMerge/semantics.ts";
export type { AttentionPartAttrs } from "./ops/attentionPart/semantics.ts";
export type { BlockMaxAttrs } from "./ops/blockMax/semantics.ts";
export type { CastAttrs } from "./ops/cast/semantics.ts";
export type { ConcatAttrs } from "./ops/concat/semantics.ts";
export type { EmbeddingAttrs } from "./ops/embedding/semantics.ts";
export type { LastRowAttrs } from "./ops/lastRow/semantics.ts";
export type { LayerNormAttrs } from "./ops/layerNorm/semantics.ts";
export type { LinearAttrs } from "./ops/linear/semantics.ts";
export type { PointwiseAttrs } from "./ops/pointwise/semantics.ts";
export type { ReshapeAttrs } from "./ops/reshape/semantics.ts";
export type { RmsNormAttrs } from "./ops/rmsNorm/semantics.ts";
export type { RopeAttrs, RopeScaling } from "./ops/rope/semantics.ts";
export type { SampleAttrs } from "./ops/sample/semantics.ts";
export type { SliceAttrs } from "./ops/slice/semantics.ts";
export type { SoftmaxAttrs } from "./ops/softmax/semantics.ts";

export { linearInputs } from "./ops/linear/semantics.ts";
export type { LinearInputs } from "./ops/linear/semantics.ts";
export { ropeFrequencies } from "./ops/rope/semantics.ts";
export { chooseToken, expWeight } from "./ops/sample/choose.ts";
