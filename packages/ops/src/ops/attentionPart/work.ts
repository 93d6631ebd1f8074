/** @file attentionPart: the shared memory of a task, as parts.cuh lays it out. Pure. */

/** Queries that the tensor cores take at once. */
const queryColumns = 8;

/** Bytes for merges of `mergeDims` dims at once. */
export function workBytes(headDim: number, warps: number, mergeDims: number): number {
  // Two terms of bf16.
  const queryBytes = queryColumns * headDim * 2 * 2;
  const warpFloats = queryColumns * 2 + queryColumns * (mergeDims + 4);
  return queryBytes + warps * warpFloats * 4;
}
