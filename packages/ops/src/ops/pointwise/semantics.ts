/** @file pointwise: what it means. */
import { ShapeError, castData, maxArgIndex } from "@mpk/ir";
import type { DType, Expr, OpSemantics, TensorType } from "@mpk/ir";
import { attrsOf, dtype, expression } from "../../shared/attrs.ts";
import { applyExpr, extent, operand, resultOf } from "../../shared/rows.ts";
import { inputAt, matrixOf, requireInputs, showType, withDType } from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

export interface PointwiseAttrs {
  /** Argument i is input i. */
  readonly expr: Expr;
  readonly out: DType;
}

/**
 * The full operand: the first of rank 2 or more (or [T]), whose shape is the result's. Throws
 * `ShapeError` where there is none.
 */
export function fullOperand(inputs: readonly TensorType[]): TensorType {
  const full = inputs.find((type) => type.shape.length > 1 || type.shape[0] === "T");
  if (full !== undefined) return full;
  const got = inputs.map(showType).join(", ");
  throw new ShapeError(`one input must be [T, N] or [1, N], the others broadcast; got ${got}`);
}

/** Whether an input is one row or one number that serves every row: [N] or [1]. */
export const broadcasts = (type: TensorType): boolean =>
  type.shape.length === 1 && type.shape[0] !== "T";

/** Any number of inputs, [R, N] or [N] or [1] → [R, N]: an expression at every element. */
export const semantics: OpSemantics<PointwiseAttrs> = {
  name: "pointwise",
  summary: "Applies a scalar expression at every element.",
  traits: traits("pointwise"),
  parseAttrs: attrsOf({ expr: expression, out: dtype }),
  infer({ expr, out }, inputs) {
    requireInputs(inputs, 1, Infinity, "the expression's arguments");
    if (maxArgIndex(expr) >= inputs.length) {
      const used = maxArgIndex(expr);
      throw new ShapeError(`expr uses argument ${used}, but there are ${inputs.length} inputs`);
    }
    const full = fullOperand(inputs);
    const { rows, columns } = matrixOf(full);
    inputs.forEach((type, i) => {
      const own = matrixOf(type);
      const fits = own.columns === columns && own.rows === rows;
      const spreads = broadcasts(type) && (own.columns === columns || own.columns === 1);
      if (fits || spreads) return;
      const allowed = `[${rows}, ${columns}], [${columns}] or [1]`;
      const expected = `input ${i} must be ${allowed} to match ${showType(full)}`;
      throw new ShapeError(`${expected}, got ${showType(type)}`);
    });
    return [withDType(full, out)];
  },
  evaluate(attrs, inputs, ctx) {
    const full = inputs.findIndex((input) => !broadcasts(input.type));
    const { rows, columns } = extent(inputAt(inputs, full, "x"));
    const operands = inputs.map((input) => {
      const scalar = extent(input).columns !== columns;
      return operand(input.data, broadcasts(input.type), scalar, columns);
    });
    const data = applyExpr(attrs.expr, operands, rows, columns, ctx.precision);
    const out = attrs.out === "i32" ? castData(data, "i32", ctx.precision) : data;
    return resultOf(semantics, attrs, inputs, ctx, out);
  },
};
