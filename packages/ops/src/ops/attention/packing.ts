/** @file attention: the query and key gains are resident. */
import type { OpPacking } from "@mpk/schedule";
import { residentPacking } from "../../shared/tiles.ts";
import type { AttentionAttrs } from "./semantics.ts";

/** Shared memory that attention.cuh lays out, bytes, for this many queries at once. */
export const workBytes = (
  headDim: number, maxTokens: number, warps: number, queries: number,
): number => maxTokens * headDim * 8 + warps * queries * (2 + headDim) * 4;

export const packing: OpPacking<AttentionAttrs> = {
  ...residentPacking(({ attrs }) => (attrs.qkNorm === null ? [] : [4, 5])),
  demand: ({ attrs, maxTokens }, { consumerWarps }) => ({
    tokens: maxTokens,
    workBytes: workBytes(attrs.headDim, maxTokens, consumerWarps, 1),
  }),
};
