/** @file softmax: what it means. */
import type { OpSemantics } from "@mpk/ir";
import { attrsOf, count } from "../../shared/attrs.ts";
import { floatsAt, resultOf, softmaxRun } from "../../shared/rows.ts";
import {
  floatActivation,
  inputAt,
  requireInputs,
  requireRuns,
  withDType,
} from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

export interface SoftmaxAttrs {
  /** Each run of `width` columns sums to 1. */
  readonly width: number;
}

/** x [R, N] → f32 [R, N]: exp(x - max) / sum, over each run of `width` columns. */
export const semantics: OpSemantics<SoftmaxAttrs> = {
  name: "softmax",
  summary: "Turns each run of columns into probabilities.",
  traits: traits(),
  parseAttrs: attrsOf({ width: count }),
  infer({ width }, inputs) {
    requireInputs(inputs, 1, 1, "x");
    const x = inputAt(inputs, 0, "x");
    requireRuns(floatActivation(x, "x").columns, width, "width");
    return [withDType(x, "f32")];
  },
  evaluate(attrs, inputs, ctx) {
    const x = floatsAt(inputs, 0);
    const out = new Float32Array(x.length);
    for (let start = 0; start < x.length; start += attrs.width) {
      softmaxRun(x, start, attrs.width, out);
    }
    return resultOf(semantics, attrs, inputs, ctx, out);
  },
};
