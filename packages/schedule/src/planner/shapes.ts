/** @file Rows and columns of values: every operand is a matrix of tokens by flattened columns. */
import { dtypeBytes } from "@mpk/ir";
import type { TensorType } from "@mpk/ir";

/** A vector of fixed length is one row; otherwise the first dim counts the rows. */
export function rowsOf(type: TensorType, maxTokens: number): number {
  const [first] = type.shape;
  if (first === "T") return maxTokens;
  return type.shape.length <= 1 ? 1 : (first ?? 1);
}

/** Columns: the flattened dims behind the first, or the length of a fixed vector. */
export function columnsOf(type: TensorType): number {
  const { shape } = type;
  if (shape.length === 0) return 1;
  if (shape.length === 1) return shape[0] === "T" ? 1 : (shape[0] ?? 1);
  let columns = 1;
  for (const dim of shape.slice(1)) columns *= dim === "T" ? 1 : dim;
  return columns;
}

/** Bytes of a value in the arena, for the most tokens a step may have. */
export function bytesOf(type: TensorType, maxTokens: number): number {
  return rowsOf(type, maxTokens) * columnsOf(type) * dtypeBytes[type.dtype];
}

export function roundUp(x: number, multiple: number): number {
  return Math.ceil(x / multiple) * multiple;
}
