/** @file cast: what it means. */
import { castData } from "@mpk/ir";
import type { DType, OpSemantics } from "@mpk/ir";
import { attrsOf, dtype } from "../../shared/attrs.ts";
import { resultOf } from "../../shared/rows.ts";
import { activation, inputAt, requireInputs, withDType } from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

export interface CastAttrs {
  readonly to: DType;
}

/**
 * x → the same shape in format `to`. To bf16: nearest even, at precision "bf16" only. To i32: the
 * fraction is dropped.
 */
export const semantics: OpSemantics<CastAttrs> = {
  name: "cast",
  summary: "Converts to another number format.",
  traits: traits("pointwise", "cast"),
  parseAttrs: attrsOf({ to: dtype }),
  infer({ to }, inputs) {
    requireInputs(inputs, 1, 1, "x");
    const x = inputAt(inputs, 0, "x");
    // One row alone would look like a weight to the scheduler.
    if (x.shape[0] !== "T") activation(x, "x");
    return [withDType(x, to)];
  },
  evaluate(attrs, inputs, ctx) {
    const data = castData(inputAt(inputs, 0, "x").data, attrs.to, ctx.precision);
    return resultOf(semantics, attrs, inputs, ctx, data);
  },
};
