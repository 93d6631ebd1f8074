/** @file attentionPart: its task in the kernel. */
import type { BodyEnv, OpBody } from "@mpk/cuda";
import { inputOf, outputOf, requirePositions, templateAt } from "../../shared/body.ts";
import { ropeFrequencies } from "../rope/semantics.ts";
import { unitKeys } from "./semantics.ts";
import { workBytes } from "./work.ts";
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

function checkEnv(headDim: number, env: BodyEnv): void {
  if (headDim % 16 !== 0 || headDim > 256) {
    throw new RangeError(
      `attention on the GPU takes a head_dim of 16, 32, ... 256, not ${headDim}`,
    );
  }
  if (env.pageTokens % unitKeys !== 0) {
    throw new RangeError(
      `attention in parts takes KV pages of 32, 64, ... positions, not ${env.pageTokens}`,
    );
  }
  requirePositions(env, 3);
}

export const body: OpBody<AttentionPartAttrs> = {
  template: templateAt(import.meta.url),
  run: "attention_part",
  view({ attrs }, env) {
    const { heads, kvHeads, headDim, splits } = attrs;
    checkEnv(headDim, env);
    const [q, k, v] = [inputOf(env, 0), inputOf(env, 1), inputOf(env, 2)];
    const out = outputOf(env);
    const gain = attrs.qkNorm === null ? null : inputOf(env, 4);
    const frequencies = attrs.rope === null ? [0] : Array.from(ropeFrequencies(attrs.rope));
    return {
      heads, kvHeads, headDim, splits,
      scale: env.float(attrs.scale),
      eps: env.float(attrs.qkNorm?.eps ?? 0),
      window: attrs.window ?? 0,
      mergeDims: mergeDimsFor(headDim, env),
      qkNorm: attrs.qkNorm !== null,
      rope: attrs.rope !== null,
      qStride: q.stride,
      kStride: k.stride,
      vStride: v.stride,
      outStride: out.stride,
      outWord: out.word,
      stateWord: env.states[0]?.word ?? 0,
      qType: env.type(q),
      kType: env.type(k),
      vType: env.type(v),
      gainType: gain === null ? "u16" : env.type(gain),
      frequencies: frequencies.map((f) => env.float(f)).join(", "),
    };
  },
};
