/** @file Resolves views to columns of the value that holds the bytes. Pure. */
import type { EvalContext, Program, Tensor, TensorType } from "@mpk/ir";
import { describeOp, PlanError } from "../errors.ts";
import type { OpClass, OpNode } from "./nodes.ts";
import { columnsOf, rowsOf } from "./shapes.ts";

/** Where a value's bytes are: columns from `column` on of value `base`, all rows or the last. */
export interface Resolved {
  readonly base: number;
  readonly column: number;
  readonly lastRow: boolean;
}

interface ViewShift {
  readonly column: number;
  readonly lastRow: boolean;
}

/** By value id. Throws `PlanError` when a view op's semantics is not a column or row view. */
export function resolveViews(program: Program, nodes: readonly OpNode[]): readonly Resolved[] {
  const resolved: Resolved[] = program.values.map((value) => ({
    base: value.id,
    column: 0,
    lastRow: false,
  }));
  const shifts = new Map<OpClass, ViewShift>();
  for (const node of nodes) {
    const op = program.ops[node.index];
    if (!node.view || op === undefined) continue;
    let shift = shifts.get(node.cls);
    if (shift === undefined) {
      shift = probe(node.cls, describeOp(op));
      shifts.set(node.cls, shift);
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

/**
 * Asks an op's reference semantics what it views, instead of knowing op names: two tokens' worth
 * of element numbers go in, and those that come out say which rows and columns they are.
 */
function probe(cls: OpClass, where: string): ViewShift {
  const { instance, schedule } = cls;
  const tokens = 2;
  const [type] = instance.inputs;
  const [out] = instance.outputs;
  const fail = (what: string): PlanError =>
    new PlanError(`${where}: has no tiles, so it must be a view, but ${what}`);
  if (type === undefined || out === undefined) throw fail("it has no input or no output");
  const columns = columnsOf(type);
  // Element numbers are exact in float32 up to 2^24.
  if (columns * tokens > 2 ** 24) throw fail(`its input has ${columns} columns, too many`);
  const rows = rowsOf(type, tokens);
  const [result] = schedule.semantics.evaluate(
    instance.attrs, [numbered(type, rows, columns)], probeContext(tokens), [],
  );
  const first = result?.data[0];
  if (result === undefined || first === undefined) throw fail("it gives no elements");
  const outRows = rowsOf(out, tokens);
  const outColumns = columnsOf(out);
  const lastRow = rows !== outRows && outRows === 1;
  if (rows !== outRows && !lastRow) throw fail(`it makes ${outRows} rows of ${rows}`);
  const startRow = lastRow ? rows - 1 : 0;
  const column = first - startRow * columns;
  for (let row = 0; row < outRows; row++) {
    for (let c = 0; c < outColumns; c++) {
      if (result.data[row * outColumns + c] !== (startRow + row) * columns + column + c) {
        throw fail(`output element [${row}, ${c}] is not the input's column ${column + c}`);
      }
    }
  }
  return { column, lastRow };
}

function numbered(type: TensorType, rows: number, columns: number): Tensor {
  const data = new (type.dtype === "i32" ? Int32Array : Float32Array)(rows * columns);
  for (let i = 0; i < data.length; i++) data[i] = i;
  return { type, shape: type.shape.map((dim) => (dim === "T" ? rows : dim)), data };
}

function probeContext(tokens: number): EvalContext {
  return {
    precision: "f32",
    tokens,
    inputs: { ids: new Int32Array(tokens), positions: Int32Array.from([0, 1]) },
    sampling: { temperature: 0, topK: 0, topP: 1, seed: 0n },
    state: (id) => {
      throw new PlanError(`a view must not touch state ${id}`);
    },
  };
}
