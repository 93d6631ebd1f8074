/** @file slice: what it means. */
import { ShapeError } from "@mpk/ir";
import type { OpSemantics } from "@mpk/ir";
import { attrsOf, count, index } from "../../shared/attrs.ts";
import { extent, resultOf } from "../../shared/rows.ts";
import { activation, inputAt, requireInputs } from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

export interface SliceAttrs {
  /** First column. */
  readonly start: number;
  /** Number of columns. */
  readonly size: number;
}

/** x [R, N] → [R, size]: columns start to start + size. A view. */
export const semantics: OpSemantics<SliceAttrs> = {
  name: "slice",
  summary: "Views a range of columns.",
  traits: traits("view"),
  parseAttrs: attrsOf({ start: index, size: count }),
  infer({ start, size }, inputs) {
    requireInputs(inputs, 1, 1, "x");
    const x = inputAt(inputs, 0, "x");
    const { rows, columns } = activation(x, "x");
    if (start + size > columns) {
      const range = `columns ${start} to ${start + size}`;
      throw new ShapeError(`slice of ${range} is outside x, which has ${columns} columns`);
    }
    return [{ dtype: x.dtype, shape: [rows, size] }];
  },
  evaluate(attrs, inputs, ctx) {
    const x = inputAt(inputs, 0, "x");
    const { rows, columns } = extent(x);
    const { start, size } = attrs;
    const length = rows * size;
    const out = x.data instanceof Int32Array ? new Int32Array(length) : new Float32Array(length);
    for (let row = 0; row < rows; row++) {
      const from = row * columns + start;
      out.set(x.data.subarray(from, from + size), row * size);
    }
    return resultOf(semantics, attrs, inputs, ctx, out);
  },
};
