/** @file attention: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { fewTokens } from "@mpk/ir";
import { outputOf, templateAt } from "../../shared/body.ts";
import { checkHeads, headsView } from "./heads.ts";
import { workBytes } from "./packing.ts";
import type { WholeAttentionAttrs } from "./semantics.ts";

export const body: OpBody<WholeAttentionAttrs> = {
  template: templateAt(import.meta.url),
  run: "attention",
  view(op, env) {
    const { attrs } = op;
    checkHeads(attrs, env);
    const needed = workBytes(attrs.headDim, env.maxTokens, env.ring.consumerWarps);
    if (needed > env.workBytes) {
      throw new RangeError(
        `attention with head_dim ${attrs.headDim} needs ${needed} bytes of shared memory beside ` +
          `the ring, the plan leaves ${env.workBytes}; lower maxTokens`,
      );
    }
    return {
      ...headsView(attrs, env), many: env.maxTokens > fewTokens, rounds: attrs.out === "bf16",
      few: env.maxTokens > 1 && env.maxTokens <= fewTokens, roundsFew: outputOf(env).few === "bf16",
    };
  },
};
