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

/** Row and column numbers are exact in float32 up to here. */
const exact = 2 ** 24;

/**
 * Row numbers go in, then column numbers; what comes out says which rows and columns the op views.
 * This asks the meaning of the op, where the planner trusts its tiling, and asks it for every
 * number of tokens that a step may have: two first, since one cannot tell the last row from all.
 */
export function askView(instance: OpInstance, schedule: OpSchedule<unknown>): ViewAnswer {
  const answer = askFor(2, instance, schedule);
  for (let tokens = 1; tokens <= instance.maxTokens && answer.problem === null; tokens++) {
    if (tokens === 2) continue;
    const { column, problem } = askFor(tokens, instance, schedule, answer.lastRow);
    if (problem !== null) return { ...answer, problem: `with ${tokens} tokens, ${problem}` };
    if (column === answer.column) continue;
    const told = `with ${tokens} tokens it views column ${column}, with 2 column ${answer.column}`;
    return { ...answer, problem: told };
  }
  return answer;
}

/** `lastRow`: known from more tokens; one row may be the last or all. */
function askFor(
  tokens: number,
  instance: OpInstance,
  schedule: OpSchedule<unknown>,
  knownLastRow?: boolean,
): ViewAnswer {
  const [type] = instance.inputs;
  const [out] = instance.outputs;
  const problem = (text: string): ViewAnswer => ({ column: 0, lastRow: false, problem: text });
  if (type === undefined || out === undefined) return problem("it has no input or no output");
  const from = matrixOf(type, tokens);
  const to = matrixOf(out, tokens);
  if (from.columns > exact) return problem(`${from.columns} columns are too many`);
  const ask = (number: (row: number, column: number) => number): ArrayLike<number> => {
    const input = numbered(type, tokens, number);
    const context = probeContext(tokens);
    return schedule.semantics.evaluate(instance.attrs, [input], context, [])[0]?.data ?? [];
  };
  const rows = ask((row) => row);
  const columns = ask((_, column) => column);
  const column = columns[0];
  if (column === undefined) return problem("it gives no elements");
  const lastRow = knownLastRow ?? (from.rows > 1 && to.rows === 1);
  if (from.rows !== to.rows && !lastRow) return problem(`it makes ${to.rows} rows`);
  if (lastRow && to.rows !== 1) return problem(`it makes ${to.rows} rows, not the last alone`);
  const startRow = lastRow ? from.rows - 1 : 0;
  for (let i = 0; i < columns.length; i++) {
    const [row, c] = [Math.floor(i / to.columns), i % to.columns];
    if (rows[i] !== startRow + row || columns[i] !== column + c) {
      return problem(`output element [${row}, ${c}] is not the input's column ${column + c}`);
    }
  }
  return { column, lastRow, problem: null };
}

function numbered(
  type: TensorType,
  tokens: number,
  number: (row: number, column: number) => number,
): Tensor {
  const { rows, columns } = matrixOf(type, tokens);
  const data = new (type.dtype === "i32" ? Int32Array : Float32Array)(rows * columns);
  for (let i = 0; i < data.length; i++) data[i] = number(Math.floor(i / columns), i % columns);
  return { type, shape: type.shape.map((dim) => (dim === "T" ? tokens : dim)), data };
}

function probeContext(tokens: number): EvalContext {
  return {
    precision: "f32",
    tokens,
    inputs: {
      ids: new Int32Array(tokens), positions: Int32Array.from({ length: tokens }, (_, i) => i),
    },
    sampling: { temperature: 0, topK: 0, topP: 1, seed: 0n },
    state: (id) => {
      throw new Error(`a view must not touch state ${id}`);
    },
  };
}
