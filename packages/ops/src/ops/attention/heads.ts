/** @file What attention's bodies, whole and in parts, tell their templates alike. */
import type { BodyEnv } from "@mpk/cuda";
import { flagView, inputOf, outputOf, requirePositions } from "../../shared/body.ts";
import { ropeFrequencies } from "../rope/semantics.ts";
import type { AttentionAttrs } from "./semantics.ts";

/** Throws `RangeError` for heads or positions that heads.cuh does not take. */
export function checkHeads({ headDim }: AttentionAttrs, env: BodyEnv): void {
  if (headDim % 16 !== 0 || headDim > 256) {
    throw new RangeError(
      `attention on the GPU takes a head_dim of 16, 32, ... 256, not ${headDim}`,
    );
  }
  requirePositions(env, 3);
}

/** Heads, norm and RoPE, and where q, k, v, the state and the output are. */
export function headsView(attrs: AttentionAttrs, env: BodyEnv) {
  const [q, k, v, out] = [inputOf(env, 0), inputOf(env, 1), inputOf(env, 2), outputOf(env)];
  const gain = attrs.qkNorm === null ? null : inputOf(env, 4);
  const frequencies = attrs.rope === null ? [0] : Array.from(ropeFrequencies(attrs.rope));
  return {
    heads: attrs.heads,
    kvHeads: attrs.kvHeads,
    headDim: attrs.headDim,
    scale: env.float(attrs.scale),
    eps: env.float(attrs.qkNorm?.eps ?? 0),
    window: attrs.window ?? 0,
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
    flags: env.flags,
    qFlag: flagView(q),
    kFlag: flagView(k),
    vFlag: flagView(v),
    outFlag: flagView(out),
    frequencies: frequencies.map((f) => env.float(f)).join(", "),
  };
}
