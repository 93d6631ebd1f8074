/** @file reshape: what it means. */
import { ShapeError } from "@mpk/ir";
import type { Dim, OpSemantics } from "@mpk/ir";
import { attrsOf, dims } from "../../shared/attrs.ts";
import { resultOf } from "../../shared/rows.ts";
import { activation, inputAt, matrixOf, requireInputs, showType } from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

export interface ReshapeAttrs {
  /** The whole new shape, the first dim unchanged. */
  readonly shape: readonly Dim[];
}

/** x [R, ...] → [R, ...] with as many columns. A view. */
export const semantics: OpSemantics<ReshapeAttrs> = {
  name: "reshape",
  summary: "Views the columns under other dims.",
  traits: traits("view"),
  parseAttrs: attrsOf({ shape: dims }),
  infer({ shape }, inputs) {
    requireInputs(inputs, 1, 1, "x");
    const x = inputAt(inputs, 0, "x");
    const { rows, columns } = activation(x, "x");
    const out = { dtype: x.dtype, shape };
    const to = activation(out, "shape");
    if (shape[0] !== rows) {
      throw new ShapeError(`shape must keep the first dim ${rows}, got ${showType(out)}`);
    }
    if (to.columns !== columns) {
      const got = `${matrixOf(out).columns} columns of ${showType(out)}`;
      throw new ShapeError(`shape must keep the ${columns} columns of ${showType(x)}, got ${got}`);
    }
    return [out];
  },
  evaluate(attrs, inputs, ctx) {
    return resultOf(semantics, attrs, inputs, ctx, inputAt(inputs, 0, "x").data);
  },
};
