/** @file allReduce: what it means. */
import type { OpSemantics } from "@mpk/ir";
import { attrsOf, oneOf } from "../../shared/attrs.ts";
import { resultOf } from "../../shared/rows.ts";
import { floatActivation, inputAt, requireInputs } from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

export interface AllReduceAttrs {
  readonly reduce: "sum";
}

/** x → the sum of x over all devices: on one device x itself, so a view. */
export const semantics: OpSemantics<AllReduceAttrs> = {
  name: "allReduce",
  summary: "Sums over all devices; the identity on one.",
  traits: traits("view"),
  parseAttrs: attrsOf({ reduce: oneOf("sum") }),
  infer(_attrs, inputs) {
    requireInputs(inputs, 1, 1, "x");
    const x = inputAt(inputs, 0, "x");
    floatActivation(x, "x");
    return [x];
  },
  evaluate(attrs, inputs, ctx) {
    return resultOf(semantics, attrs, inputs, ctx, inputAt(inputs, 0, "x").data);
  },
};
