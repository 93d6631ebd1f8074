/** @file rmsNorm: what it means. */
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

export interface RmsNormAttrs {
  readonly eps: number;
  /** Each run of `width` columns is normalized by itself. */
  readonly width: number;
}

/** x [R, N], gain [width] → f32 [R, N]: x / sqrt(mean(x²) + eps) · gain, run by run. */
export const semantics: OpSemantics<RmsNormAttrs> = {
  name: "rmsNorm",
  summary: "Divides each run of columns by its root mean square and multiplies by a gain.",
  traits: traits("rowNorm"),
  parseAttrs: attrsOf({ eps: positive, width: count }),
  infer({ width }, inputs) {
    requireInputs(inputs, 2, 2, "x, gain");
    const x = inputAt(inputs, 0, "x");
    requireRuns(floatActivation(x, "x").columns, width, "width");
    requireVector(inputAt(inputs, 1, "gain"), width, "gain", "one number for each column of a run");
    return [withDType(x, "f32")];
  },
  evaluate(attrs, inputs, ctx) {
    const norm = { kind: "rms", eps: attrs.eps, gain: floatsAt(inputs, 1), bias: null } as const;
    const data = normalizeRuns(floatsAt(inputs, 0), attrs.width, norm);
    return resultOf(semantics, attrs, inputs, ctx, data);
  },
};
