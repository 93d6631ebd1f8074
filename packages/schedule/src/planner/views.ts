/** @file Resolves views to columns of the value that holds the bytes. Pure. */
import type { Program } from "@mpk/ir";
import { describeOp, PlanError } from "../errors.ts";
import type { OpNode } from "./nodes.ts";

/** Where a value's bytes are: columns from `column` on of value `base`, all rows or the last. */
export interface Resolved {
  readonly base: number;
  readonly column: number;
  readonly lastRow: boolean;
}

/** By value id. Throws `PlanError` for an op without tiles that is no view. */
export function resolveViews(program: Program, nodes: readonly OpNode[]): readonly Resolved[] {
  const resolved: Resolved[] = program.values.map((value) => ({
    base: value.id,
    column: 0,
    lastRow: false,
  }));
  for (const node of nodes) {
    const op = program.ops[node.index];
    if (!node.view || op === undefined) continue;
    const { schedule, instance } = node.cls;
    const shift = schedule.tiling.view(instance);
    if (shift === null) {
      throw new PlanError(`${describeOp(op)}: has no tiles, so tiling.view must not be null`);
    }
    const from = resolved[op.inputs[0] ?? -1];
    const output = op.outputs[0];
    if (from === undefined || output === undefined) {
      throw new PlanError(`${describeOp(op)}: a view needs one input and one output`);
    }
    resolved[output] = {
      base: from.base,
      column: from.column + shift.column,
      lastRow: from.lastRow || shift.lastRow,
    };
  }
  return resolved;
}
