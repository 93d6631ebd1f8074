/** @file blockMax: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { inputOf, outputOf, templateAt } from "../../shared/body.ts";
import type { BlockMaxAttrs } from "./semantics.ts";

export const body: OpBody<BlockMaxAttrs> = {
  template: templateAt(import.meta.url),
  run: "block_max",
  view(op, env) {
    const x = inputOf(env, 0);
    if (x.dtype !== "f32" || x.lastRow) {
      throw new RangeError("blockMax on the GPU takes the f32 [1, N] that a linear wrote");
    }
    return {
      columns: x.columns,
      block: op.attrs.block,
      xWord: x.word,
      outWord: outputOf(env).word,
    };
  },
};
