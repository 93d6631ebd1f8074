/** @file attention: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { templateAt } from "../../shared/body.ts";
import { checkHeads, headsView } from "./heads.ts";
import { workBytes } from "./packing.ts";
import type { AttentionAttrs } from "./semantics.ts";

export const body: OpBody<AttentionAttrs> = {
  template: templateAt(import.meta.url),
  run: "attention",
  view(op, env) {
    const { attrs } = op;
    checkHeads(attrs, env);
    const fits = [4, 2, 1].find((queries) => {
      return workBytes(attrs.headDim, env.maxTokens, env.ring.consumerWarps, queries) <= env.workBytes;
    });
    if (fits === undefined) {
      throw new RangeError(
        `attention with head_dim ${attrs.headDim} needs ` +
          `${workBytes(attrs.headDim, env.maxTokens, env.ring.consumerWarps, 1)} bytes of shared ` +
          `memory beside the ring, the plan leaves ${env.workBytes}; lower maxTokens`,
      );
    }
    return {
      ...headsView(attrs, env),
      // Registers hold a block's queries and sums: fewer at once for wide heads.
      queryBlock: attrs.headDim > 64 ? 1 : fits,
    };
  },
};
