/** @file attention: the query and key gains are resident. */
import type { OpPacking } from "@mpk/schedule";
import { residentPacking } from "../../shared/tiles.ts";
import type { AttentionAttrs } from "./semantics.ts";

/** Shared memory that attention_of_one.cuh lays out, bytes: parts of the warps, the step's rows. */
const workBytesOfOne = (headDim: number, warps: number): number =>
  (Math.ceil((warps + 1) / 2) * 4 + 8 + warps * headDim) * 4 + (4 * headDim + 32) * 2;

/** Shared memory of a task, bytes, for this many queries at once; see attention.cuh. */
export const workBytes = (
  headDim: number, maxTokens: number, warps: number, queries: number,
): number => {
  const many = maxTokens * headDim * 8 + warps * queries * (2 + headDim) * 4;
  return Math.max(many, workBytesOfOne(headDim, warps));
};

export const packing: OpPacking<AttentionAttrs> = {
  ...residentPacking(({ attrs }) => (attrs.qkNorm === null ? [] : [4, 5])),
  demand: ({ attrs, maxTokens }, { consumerWarps }) => ({
    tokens: maxTokens,
    workBytes: workBytes(attrs.headDim, maxTokens, consumerWarps, 1),
  }),
};
