/** @file attentionPart: the query and key gains are resident. */
import type { OpPacking } from "@mpk/schedule";
import { residentPacking } from "../../shared/tiles.ts";
import type { AttentionPartAttrs } from "./semantics.ts";
import { workBytes } from "./work.ts";

export const packing: OpPacking<AttentionPartAttrs> = {
  ...residentPacking(({ attrs }) => (attrs.qkNorm === null ? [] : [4, 5])),
  demand: ({ attrs, maxTokens }, { consumerWarps }) => ({
    tokens: maxTokens,
    workBytes: workBytes(attrs.headDim, consumerWarps, 16),
  }),
};
