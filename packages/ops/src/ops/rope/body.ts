/** @file rope: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { inputOf, outputOf, requirePositions, templateAt } from "../../shared/body.ts";
import { type RopeAttrs, ropeFrequencies } from "./semantics.ts";

export const body: OpBody<RopeAttrs> = {
  template: templateAt(import.meta.url),
  run: "rope",
  view(op, env) {
    const x = inputOf(env, 0);
    requirePositions(env, 1);
    const out = outputOf(env);
    return {
      headDim: op.attrs.headDim,
      xStride: x.stride,
      xWord: x.word,
      xType: env.type(x),
      outStride: out.stride,
      outWord: out.word,
      frequencies: Array.from(ropeFrequencies(op.attrs), (f) => env.float(f)).join(", "),
    };
  },
};
