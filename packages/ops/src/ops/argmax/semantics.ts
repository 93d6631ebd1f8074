/** @file argmax: what it means. */
import type { OpSemantics } from "@mpk/ir";
import { attrsOf } from "../../shared/attrs.ts";
import { argmaxRun, extent, floatsAt, resultOf } from "../../shared/rows.ts";
import { floatActivation, inputAt, requireInputs } from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

/** argmax has no attributes. */
export type ArgmaxAttrs = Readonly<Record<never, never>>;

/** x [R, N] → i32 [R]: the column of each row's maximum, the lowest among equals. */
export const semantics: OpSemantics<ArgmaxAttrs> = {
  name: "argmax",
  summary: "Finds the column of each row's maximum.",
  traits: traits(),
  parseAttrs: attrsOf({}),
  infer(_attrs, inputs) {
    requireInputs(inputs, 1, 1, "x");
    const { rows } = floatActivation(inputAt(inputs, 0, "x"), "x");
    return [{ dtype: "i32", shape: [rows] }];
  },
  evaluate(attrs, inputs, ctx) {
    const { rows, columns } = extent(inputAt(inputs, 0, "x"));
    const x = floatsAt(inputs, 0);
    const out = new Int32Array(rows);
    for (let row = 0; row < rows; row++) {
      out[row] = argmaxRun(x, row * columns, (row + 1) * columns) - row * columns;
    }
    return resultOf(semantics, attrs, inputs, ctx, out);
  },
};
