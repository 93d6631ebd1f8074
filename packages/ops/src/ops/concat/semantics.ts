/** @file concat: what it means. */
import { ShapeError } from "@mpk/ir";
import type { OpSemantics } from "@mpk/ir";
import { noAttrs } from "../../shared/attrs.ts";
import type { NoAttrs } from "../../shared/attrs.ts";
import { extent, resultOf } from "../../shared/rows.ts";
import { activation, inputAt, requireInputs, showType } from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

/** concat has no attributes. */
export type ConcatAttrs = NoAttrs;

/** Any number of [R, Ni] → [R, sum Ni]: columns side by side. */
export const semantics: OpSemantics<ConcatAttrs> = {
  name: "concat",
  summary: "Puts columns side by side.",
  traits: traits(),
  parseAttrs: noAttrs,
  infer(_attrs, inputs) {
    requireInputs(inputs, 1, Infinity, "parts");
    const first = inputAt(inputs, 0, "part 0");
    const { rows } = activation(first, "part 0");
    let columns = 0;
    inputs.forEach((part, i) => {
      const own = activation(part, `part ${i}`);
      if (own.rows !== rows || part.dtype !== first.dtype) {
        const expected = `part ${i} must be ${first.dtype} with first dim ${rows} as part 0`;
        throw new ShapeError(`${expected}, got ${showType(part)}`);
      }
      columns += own.columns;
    });
    return [{ dtype: first.dtype, shape: [rows, columns] }];
  },
  evaluate(attrs, inputs, ctx) {
    const first = inputAt(inputs, 0, "part 0");
    const widths = inputs.map((part) => extent(part).columns);
    const columns = widths.reduce((sum, width) => sum + width, 0);
    const { rows } = extent(first);
    const size = rows * columns;
    const out = first.data instanceof Int32Array ? new Int32Array(size) : new Float32Array(size);
    for (let row = 0; row < rows; row++) {
      let at = row * columns;
      inputs.forEach((part, i) => {
        const width = widths[i] ?? 0;
        out.set(part.data.subarray(row * width, (row + 1) * width), at);
        at += width;
      });
    }
    return resultOf(semantics, attrs, inputs, ctx, out);
  },
};
