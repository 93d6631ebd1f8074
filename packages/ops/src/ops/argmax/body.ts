/** @file argmax: its task in the kernel. */
import type { OpBody } from "@mpk/cuda";
import { fixedRows, inputOf, outputOf, templateAt } from "../../shared/body.ts";
import type { ArgmaxAttrs } from "./semantics.ts";

export const body: OpBody<ArgmaxAttrs> = {
  template: templateAt(import.meta.url),
  run: "argmax",
  view(_op, env) {
    const x = inputOf(env, 0);
    return {
      columns: x.columns,
      rows: fixedRows(outputOf(env)),
      xStride: x.stride,
      xWord: x.word,
      xType: env.type(x),
      firstRow: x.lastRow ? "c.tokens - 1" : "0",
      outWord: outputOf(env).word,
    };
  },
};
