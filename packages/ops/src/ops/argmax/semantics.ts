/** @file argmax: what it means. */
import type { OpSemantics } from "@mpk/ir";
import { noAttrs } from "../../shared/attrs.ts";
import type { NoAttrs } from "../../shared/attrs.ts";
import { argmaxRows, extent, floatsAt, resultOf } from "../../shared/rows.ts";
import { floatActivation, inputAt, requireInputs } from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

/** argmax has no attributes. */
export type ArgmaxAttrs = NoAttrs;

/**
 * x [R, N] → i32 [R]: the column of each row's maximum, the lowest among equals. Throws
 * `NoTokenError` for a row of nothing but NaN; the kernel gives `noToken` there.
 */
export const semantics: OpSemantics<ArgmaxAttrs> = {
  name: "argmax",
  summary: "Finds the column of each row's maximum.",
  traits: traits(),
  parseAttrs: noAttrs,
  infer(_attrs, inputs) {
    requireInputs(inputs, 1, 1, "x");
    const { rows } = floatActivation(inputAt(inputs, 0, "x"), "x");
    return [{ dtype: "i32", shape: [rows] }];
  },
  evaluate(attrs, inputs, ctx) {
    const { columns } = extent(inputAt(inputs, 0, "x"));
    const out = argmaxRows(floatsAt(inputs, 0), columns);
    return resultOf(semantics, attrs, inputs, ctx, out);
  },
};
