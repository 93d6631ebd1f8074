/** @file attentionMerge: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { flagView, inputOf, outputOf, templateAt } from "../../shared/body.ts";
import type { AttentionMergeAttrs } from "./semantics.ts";
import { mergeWidth } from "./tiling.ts";

export const body: OpBody<AttentionMergeAttrs> = {
  template: templateAt(import.meta.url),
  run: "attention_merge",
  view({ attrs }, env) {
    const { heads, kvHeads, headDim, splits } = attrs;
    const [parts, out] = [inputOf(env, 0), outputOf(env)];
    return {
      heads, kvHeads, headDim, splits,
      tile: mergeWidth(attrs),
      partsStride: parts.stride,
      partsWord: parts.word,
      outStride: out.stride,
      outWord: out.word,
      flags: env.flags,
      partsFlag: flagView(parts),
      outFlag: flagView(out),
    };
  },
};
