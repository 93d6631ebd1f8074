/** @file pointwise: a task applies the expression to its columns of every row. */
import type { TaskBody } from "@mpk/schedule";
import { applyExpr, operand } from "../../shared/rows.ts";
import type { ExprOperand } from "../../shared/rows.ts";
import { columnTask } from "../../shared/tasks.ts";
import { columnBlock, inputColumns, outputColumns } from "../../shared/tiles.ts";
import { broadcasts } from "./semantics.ts";
import type { PointwiseAttrs } from "./semantics.ts";

export const task: TaskBody<PointwiseAttrs> = columnTask(
  columnBlock,
  function* applyColumns(op, ctx, { lo, hi }) {
    const operands: ExprOperand[] = [];
    let rows = 1;
    for (const [index, type] of op.inputs.entries()) {
      const scalar = inputColumns(op, index) !== outputColumns(op);
      const data = scalar ? ctx.read(index, 0, 1) : ctx.read(index, lo, hi);
      if (!broadcasts(type)) rows = data.length / (hi - lo);
      operands.push(operand(data, broadcasts(type), scalar, hi - lo));
      yield;
    }
    return applyExpr(op.attrs.expr, operands, rows, hi - lo, ctx.eval.precision);
  },
);
