/** @file sample: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { inputOf, outputOf, templateAt } from "../../shared/body.ts";
import type { SampleAttrs } from "./semantics.ts";

export const body: OpBody<SampleAttrs> = {
  template: templateAt(import.meta.url),
  run: "sample",
  view(_op, env) {
    const x = inputOf(env, 0);
    if (x.dtype !== "f32" || x.lastRow) {
      throw new RangeError("sample on the GPU takes the f32 [1, V] that a linear wrote");
    }
    const pairs = env.inputs[1];
    return {
      xWord: x.word,
      outWord: outputOf(env).word,
      blockMaxWord: pairs?.word ?? -1,
      blocks: (pairs?.columns ?? 0) / 2,
    };
  },
};
