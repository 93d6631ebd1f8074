/** @file Finds out what a view op views by asking its reference semantics. Pure. */
import type { EvalContext, Tensor, TensorType } from "@mpk/ir";
import type { OpInstance, OpSchedule } from "../contracts.ts";

/** Columns and rows as the contracts define them; the verifier's own reading of the types. */
export function matrixOf(type: TensorType, tokens: number): { rows: number; columns: number } {
  const sizes = type.shape.map((dim) => (dim === "T" ? tokens : dim));
  const product = (from: readonly number[]): number => from.reduce((a, b) => a * b, 1);
  // A vector of fixed length is one row of columns; otherwise the first dim counts rows.
  if (sizes.length === 1 && type.shape[0] !== "T") return { rows: 1, columns: product(sizes) };
  return { rows: sizes[0] ?? 1, columns: product(sizes.slice(1)) };
}

export interface ViewAnswer {
  readonly column: number;
  readonly lastRow: boolean;
  /** Why the op is no view, or null. */
  readonly problem: string | null;
}

/** Element numbers are exact in float32 up to here. */
const exact = 2 ** 24;

/**
 * Two tokens' worth of element numbers go in; those that come out say which rows and columns the
 * op views. This asks the meaning of the op, where the planner trusts its tiling.
 */
export function askView(instance: OpInstance, schedule: OpSchedule<unknown>): ViewAnswer {
  const tokens = 2;
  const [type] = instance.inputs;
  const [out] = instance.outputs;
  const problem = (text: string): ViewAnswer => ({ column: 0, lastRow: false, problem: text });
  if (type === undefined || out === undefined) return problem("it has no input or no output");
  const from = matrixOf(type, tokens);
  const to = matrixOf(out, tokens);
  if (from.rows * from.columns > exact) return problem(`${from.columns} columns are too many`);
  const [result] = schedule.semantics.evaluate(
    instance.attrs, [numbered(type, tokens)], probeContext(tokens), [],
  );
  const first = result?.data[0];
  if (result === undefined || first === undefined) return problem("it gives no elements");
  const lastRow = from.rows > 1 && to.rows === 1;
  if (from.rows !== to.rows && !lastRow) return problem(`it makes ${to.rows} rows`);
  const startRow = lastRow ? from.rows - 1 : 0;
  const column = first - startRow * from.columns;
  for (let i = 0; i < result.data.length; i++) {
    const [row, c] = [Math.floor(i / to.columns), i % to.columns];
    if (result.data[i] !== (startRow + row) * from.columns + column + c) {
      return problem(`output element [${row}, ${c}] is not the input's column ${column + c}`);
    }
  }
  return { column, lastRow, problem: null };
}

function numbered(type: TensorType, tokens: number): Tensor {
  const { rows, columns } = matrixOf(type, tokens);
  const data = new (type.dtype === "i32" ? Int32Array : Float32Array)(rows * columns);
  for (let i = 0; i < data.length; i++) data[i] = i;
  return { type, shape: type.shape.map((dim) => (dim === "T" ? tokens : dim)), data };
}

function probeContext(tokens: number): EvalContext {
  return {
    precision: "f32",
    tokens,
    inputs: { ids: new Int32Array(tokens), positions: Int32Array.from([0, 1]) },
    sampling: { temperature: 0, topK: 0, topP: 1, seed: 0n },
    state: (id) => {
      throw new Error(`a view must not touch state ${id}`);
    },
  };
}
