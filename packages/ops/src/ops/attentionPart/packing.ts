/** @file attentionPart: the query and key gains are resident. */
import type { OpPacking } from "@mpk/schedule";
import { residentPacking } from "../../shared/tiles.ts";
import { unitKeys } from "./semantics.ts";
import type { AttentionPartAttrs } from "./semantics.ts";
import { chunksOf, queryColumns, workBytes } from "./work.ts";

export const packing: OpPacking<AttentionPartAttrs> = {
  ...residentPacking(({ attrs }) => (attrs.qkNorm === null ? [] : [4, 5])),
  demand: ({ attrs, maxTokens }, { consumerWarps }) => ({
    tokens: maxTokens,
    workBytes: workBytes(attrs.headDim, consumerWarps, 16),
  }),
  // Of split 0: its share of full units, and the units of the step's tokens; for all turns of queries.
  cachedChunks({ attrs, maxTokens }, { chunkBytes, consumerWarps }, maxContext) {
    const { heads, kvHeads, headDim, splits } = attrs;
    const { keys, pieces } = chunksOf(headDim, chunkBytes);
    const units = Math.ceil(maxContext / unitKeys / splits) + Math.ceil(maxTokens / unitKeys) + 1;
    const rounds = Math.ceil((units * unitKeys) / keys / consumerWarps);
    const turns = Math.ceil((maxTokens * heads) / kvHeads / queryColumns);
    return turns * rounds * consumerWarps * pieces;
  },
};
