/** @file lastRow: what it means. */
import type { OpSemantics } from "@mpk/ir";
import { noAttrs } from "../../shared/attrs.ts";
import type { NoAttrs } from "../../shared/attrs.ts";
import { extent, resultOf } from "../../shared/rows.ts";
import { activation, inputAt, requireInputs } from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

/** lastRow has no attributes. */
export type LastRowAttrs = NoAttrs;

/** x [T, ...] → [1, ...]: the row of the step's last token. A view. */
export const semantics: OpSemantics<LastRowAttrs> = {
  name: "lastRow",
  summary: "Views the row of the step's last token.",
  traits: traits("view"),
  parseAttrs: noAttrs,
  infer(_attrs, inputs) {
    requireInputs(inputs, 1, 1, "x");
    const x = inputAt(inputs, 0, "x");
    activation(x, "x");
    return [{ dtype: x.dtype, shape: [1, ...x.shape.slice(1)] }];
  },
  evaluate(attrs, inputs, ctx) {
    const x = inputAt(inputs, 0, "x");
    const { rows, columns } = extent(x);
    const row = x.data.slice((rows - 1) * columns, rows * columns);
    return resultOf(semantics, attrs, inputs, ctx, row);
  },
};
