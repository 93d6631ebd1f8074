/** @file attention: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { flagView, inputOf, outputOf, requirePositions, templateAt } from "../../shared/body.ts";
import { ropeFrequencies } from "../rope/semantics.ts";
import { workBytes } from "./packing.ts";
import type { AttentionAttrs } from "./semantics.ts";

export const body: OpBody<AttentionAttrs> = {
  template: templateAt(import.meta.url),
  run: "attention",
  view(op, env) {
    const { attrs } = op;
    if (attrs.headDim % 16 !== 0 || attrs.headDim > 256) {
      throw new RangeError(
        `attention on the GPU takes a head_dim of 16, 32, ... 256, not ${attrs.headDim}`,
      );
    }
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
    requirePositions(env, 3);
    const [q, k, v] = [inputOf(env, 0), inputOf(env, 1), inputOf(env, 2)];
    const out = outputOf(env);
    const gain = attrs.qkNorm === null ? null : inputOf(env, 4);
    const frequencies = attrs.rope === null ? [0] : Array.from(ropeFrequencies(attrs.rope));
    return {
      heads: attrs.heads,
      kvHeads: attrs.kvHeads,
      headDim: attrs.headDim,
      scale: env.float(attrs.scale),
      eps: env.float(attrs.qkNorm?.eps ?? 0),
      window: attrs.window ?? 0,
      // Registers hold a block's queries and sums: fewer at once for wide heads.
      queryBlock: attrs.headDim > 64 ? 1 : fits,
      qkNorm: attrs.qkNorm !== null,
      rope: attrs.rope !== null,
      qStride: q.stride,
      kStride: k.stride,
      vStride: v.stride,
      outStride: out.stride,
      outWord: out.word,
      stateWord: env.states[0]?.word ?? 0,
      flags: env.flags,
      qFlag: flagView(q),
      kFlag: flagView(k),
      vFlag: flagView(v),
      outFlag: flagView(out),
      qType: env.type(q),
      kType: env.type(k),
      vType: env.type(v),
      gainType: gain === null ? "u16" : env.type(gain),
      frequencies: frequencies.map((f) => env.float(f)).join(", "),
    };
  },
};
