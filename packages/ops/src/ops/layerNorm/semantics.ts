/** @file layerNorm: what it means. */
import type { OpSemantics } from "@mpk/ir";
import { attrsOf, count, positive } from "../../shared/attrs.ts";
import { floatsAt, normalizeRuns, resultOf } from "../../shared/rows.ts";
import {
  floatActivation,
  inputAt,
  requireInputs,
  requireRuns,
  requireVector,
  withDType,
} from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

export interface LayerNormAttrs {
  readonly eps: number;
  /** Each run of `width` columns is normalized by itself. */
  readonly width: number;
}

/**
 * x [R, N], gain [width], bias [width] → f32 [R, N]: (x - mean) / sqrt(var + eps) · gain + bias,
 * run by run, with the biased variance.
 */
export const semantics: OpSemantics<LayerNormAttrs> = {
  name: "layerNorm",
  summary: "Shifts and scales each run of columns to mean 0 and variance 1, then gain and bias.",
  traits: traits("rowNorm"),
  parseAttrs: attrsOf({ eps: positive, width: count }),
  infer({ width }, inputs) {
    requireInputs(inputs, 3, 3, "x, gain, bias");
    const x = inputAt(inputs, 0, "x");
    requireRuns(floatActivation(x, "x").columns, width, "width");
    const hint = "one number for each column of a run";
    requireVector(inputAt(inputs, 1, "gain"), width, "gain", hint);
    requireVector(inputAt(inputs, 2, "bias"), width, "bias", hint);
    return [withDType(x, "f32")];
  },
  evaluate(attrs, inputs, ctx) {
    const [gain, bias] = [floatsAt(inputs, 1), floatsAt(inputs, 2)];
    const norm = { kind: "layer", eps: attrs.eps, gain, bias } as const;
    const data = normalizeRuns(floatsAt(inputs, 0), attrs.width, norm);
    return resultOf(semantics, attrs, inputs, ctx, data);
  },
};
