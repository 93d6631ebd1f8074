/** @file attention: the query and key gains are resident. */
import type { OpPacking } from "@mpk/schedule";
import { residentPacking } from "../../shared/tiles.ts";
import type { AttentionAttrs } from "./semantics.ts";

/** Shared memory that attention_of_one.cuh lays out, bytes: parts of the warps, the step's rows. */
const oneTokenBytes = (headDim: number, warps: number): number =>
  (Math.ceil((warps + 1) / 2) * 4 + 8 + warps * headDim) * 4 + (4 * headDim + 32) * 2;

/**
 * And queries.cuh, or attention_of_few.cuh, which joins sums in fewer parts where more is left: rows
 * of q (twice), k and v; then the warps' sums.
 */
function manyTokensBytes(headDim: number, maxTokens: number, warps: number): number {
  const blocks = Math.ceil(headDim / 32);
  const rowBytes = blocks * 64 + (blocks % 2 === 0 ? 64 : 0);
  const rows = 4 * Math.ceil(maxTokens / 8) * 8 * rowBytes;
  const values = warps * 8 * ((blocks < 2 ? 32 : 64) + 4) * 4;
  return Math.max(rows, values) + warps * 8 * 2 * 4;
}

/** Shared memory that a task takes, bytes. */
export const workBytes = (headDim: number, maxTokens: number, warps: number): number =>
  Math.max(
    oneTokenBytes(headDim, warps),
    maxTokens === 1 && headDim <= 128 ? 0 : manyTokensBytes(headDim, maxTokens, warps),
  );

export const packing: OpPacking<AttentionAttrs> = {
  ...residentPacking(({ attrs }) => (attrs.qkNorm === null ? [] : [4, 5])),
  demand: ({ attrs, maxTokens }, { consumerWarps }) => ({
    tokens: maxTokens,
    workBytes: workBytes(attrs.headDim, maxTokens, consumerWarps),
  }),
};
