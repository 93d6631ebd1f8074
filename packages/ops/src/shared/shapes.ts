/** @file What shape rules share: types as rows of columns, and checks that explain. Pure. */
import { ShapeError } from "@mpk/ir";
import type { DType, Dim, TensorType } from "@mpk/ir";

/** A type as text: `bf16 [4096, 2048]`. */
export const showType = (type: TensorType): string => `${type.dtype} [${type.shape.join(", ")}]`;

/** A type seen as rows of columns, as regions see it. */
export interface Matrix {
  readonly rows: Dim;
  readonly columns: number;
}

/**
 * Rows and columns of a type: the first dim, and the others flattened. [T] has one column; a
 * rank-1 type without T is one row. Throws `ShapeError` for rank 0 and for T behind the first dim.
 */
export function matrixOf(type: TensorType): Matrix {
  const [first, ...rest] = type.shape;
  if (first === undefined) throw new ShapeError(`a tensor needs a dim, got ${showType(type)}`);
  if (rest.length === 0) {
    return first === "T" ? { rows: "T", columns: 1 } : { rows: 1, columns: first };
  }
  let columns = 1;
  for (const dim of rest) {
    if (dim === "T") throw new ShapeError(`T must be the first dim, got ${showType(type)}`);
    columns *= dim;
  }
  return { rows: first, columns };
}

/** Columns of a type; see `matrixOf`. */
export const columnsOfType = (type: TensorType): number => matrixOf(type).columns;

/** Whether a type is a vector of weights such as a gain: rank 1, numbers, no T. */
export const isVector = (type: TensorType): boolean =>
  type.shape.length === 1 && type.shape[0] !== "T" && type.dtype !== "i32";

/** Throws `ShapeError` unless there are `min` to `max` inputs. `names` describes them. */
export function requireInputs(
  inputs: readonly TensorType[],
  min: number,
  max: number,
  names: string,
): void {
  if (inputs.length >= min && inputs.length <= max) return;
  const most = max === Infinity ? " or more" : ` to ${max}`;
  const expected = min === max ? `${min}` : `${min}${most}`;
  throw new ShapeError(`expected ${expected} inputs (${names}), got ${inputs.length}`);
}

/** Input `index`; throws `ShapeError` naming it when it is not there. */
export function inputAt<T>(inputs: readonly T[], index: number, name: string): T {
  const input = inputs[index];
  if (input === undefined) throw new ShapeError(`${name} (input ${index}) is missing`);
  return input;
}

/** Throws `ShapeError` unless the type is f32 or bf16. */
export function requireFloat(type: TensorType, name: string): void {
  if (type.dtype !== "i32") return;
  throw new ShapeError(`${name} must be f32 or bf16, got ${showType(type)}; cast it to f32 first`);
}

/** Throws `ShapeError` unless the type is exactly `dtype`. */
export function requireDType(type: TensorType, expected: DType, name: string): void {
  if (type.dtype === expected) return;
  throw new ShapeError(`${name} must be ${expected}, got ${showType(type)}`);
}

/** Rows and columns of an activation: [R, ...] of rank 2 or more. Throws `ShapeError`. */
export function activation(type: TensorType, name: string): Matrix {
  if (type.shape.length >= 2) return matrixOf(type);
  throw new ShapeError(`${name} must be [T, ...] or [1, ...], got ${showType(type)}`);
}

/** As `activation`, of f32 or bf16. */
export function floatActivation(type: TensorType, name: string): Matrix {
  requireFloat(type, name);
  return activation(type, name);
}

/** Throws `ShapeError` unless the type is a float vector [length]. `hint` ends the message. */
export function requireVector(type: TensorType, length: number, name: string, hint: string): void {
  requireFloat(type, name);
  if (type.shape.length === 1 && type.shape[0] === length) return;
  throw new ShapeError(`${name} must be [${length}], got ${showType(type)}; ${hint}`);
}

/** Throws `ShapeError` unless the type is i32 [T]: one id or position a token. */
export function requireTokenVector(type: TensorType, name: string): void {
  if (type.dtype === "i32" && type.shape.length === 1 && type.shape[0] === "T") return;
  throw new ShapeError(`${name} must be i32 [T], one a token, got ${showType(type)}`);
}

/** Throws `ShapeError` unless `width` divides `columns`. */
export function requireRuns(columns: number, width: number, attr: string): void {
  if (columns % width === 0) return;
  throw new ShapeError(
    `${attr} ${width} does not divide the ${columns} columns; it is the length of one run`,
  );
}

/** Same shape with another number format. */
export const withDType = (type: TensorType, dtype: DType): TensorType => ({
  dtype,
  shape: type.shape,
});
