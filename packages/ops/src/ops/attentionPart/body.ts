/** @file attentionPart: its task in the kernel. */
import type { BodyEnv, OpBody } from "@mpk/cuda";
import { templateAt } from "../../shared/body.ts";
import { checkHeads, headsView } from "../attention/heads.ts";
import { unitKeys } from "./semantics.ts";
import { chunksOf, workBytes } from "./work.ts";
import type { AttentionPartAttrs } from "./semantics.ts";

/** The widest run of weighted values that a warp leaves in shared memory at once. */
const mostMergeDims = 128;

/** The most dims at once that fit. Throws `RangeError` where nothing does. */
function mergeDimsFor(headDim: number, env: BodyEnv): number {
  const warps = env.ring.consumerWarps;
  for (let dims = Math.min(headDim, mostMergeDims); dims >= 16; dims -= 16) {
    if (headDim % dims === 0 && workBytes(headDim, warps, dims) <= env.workBytes) return dims;
  }
  throw new RangeError(
    `attention with head_dim ${headDim} needs ${workBytes(headDim, warps, 16)} bytes of shared ` +
      `memory beside the ring, the plan leaves ${env.workBytes}; plan for fewer ring stages`,
  );
}

export const body: OpBody<AttentionPartAttrs> = {
  template: templateAt(import.meta.url),
  run: "attention_part",
  view({ attrs }, env) {
    checkHeads(attrs, env);
    if (env.pageTokens % unitKeys !== 0) {
      throw new RangeError(
        `attention in parts takes KV pages of 32, 64, ... positions, not ${env.pageTokens}`,
      );
    }
    const { headDim, splits } = attrs;
    const { stageBytes } = env.ring;
    const { keys, pieces } = chunksOf(headDim, stageBytes);
    if ((4 * keys * headDim) / pieces > stageBytes) {
      throw new RangeError(
        `attention in parts with head_dim ${headDim} takes ring stages of ` +
          `${(4 * keys * headDim) / pieces} bytes or more, not ${stageBytes}`,
      );
    }
    return { ...headsView(attrs, env), splits, mergeDims: mergeDimsFor(headDim, env) };
  },
};
