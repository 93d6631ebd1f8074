/** @file attentionPart: shared memory and ring of a task, as parts.cuh and units.cuh have them. Pure. */
import { unitKeys } from "./semantics.ts";

/** Queries that the tensor cores take at once. */
export const queryColumns = 8;

/** Bytes for merges of `mergeDims` dims at once. */
export function workBytes(headDim: number, warps: number, mergeDims: number): number {
  // Two terms of bf16.
  const queryBytes = queryColumns * headDim * 2 * 2;
  const warpFloats = queryColumns * 2 + queryColumns * (mergeDims + 4);
  return queryBytes + warps * warpFloats * 4;
}

/**
 * Keys that come in a chunk of the ring, and chunks that they and their values take: 1, or each one.
 * `UnitMap` decides alike.
 */
export function chunksOf(
  headDim: number,
  stageBytes: number,
): { readonly keys: number; readonly pieces: number } {
  const bytesOf = (keys: number): number => 2 * keys * headDim * 2;
  const keys = bytesOf(unitKeys) <= stageBytes ? unitKeys : unitKeys / 2;
  return { keys, pieces: bytesOf(keys) <= stageBytes ? 1 : 2 };
}
