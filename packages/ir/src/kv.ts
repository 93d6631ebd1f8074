/** @file The KV cache of one sequence, for the reference interpreter. */
import { roundToBf16 } from "./numerics.ts";
import { ShapeError } from "./semantics.ts";
import type { KvState, Precision } from "./semantics.ts";

/** An empty cache that grows as positions are written; rows are stored at `precision`. */
export function createKvState(
  size: { readonly kvHeads: number; readonly headDim: number },
  precision: Precision,
): KvState {
  const { kvHeads, headDim } = size;
  const width = kvHeads * headDim;
  const rows: { readonly k: Float32Array; readonly v: Float32Array }[] = [];
  const store = (into: Float32Array, row: Float32Array, lo: number): void => {
    if (lo < 0 || lo + row.length > width) {
      const columns = `[${lo}, ${lo + row.length})`;
      throw new ShapeError(`KV columns ${columns} are outside of the row's ${width}`);
    }
    into.set(precision === "bf16" ? roundToBf16(row) : row, lo);
  };
  const rowAt = (position: number): { readonly k: Float32Array; readonly v: Float32Array } => {
    const row = rows[position];
    if (row) return row;
    throw new ShapeError(`KV position ${position} has not been written; ${rows.length} have`);
  };
  return {
    kvHeads,
    headDim,
    write(position, k, v, lo = 0) {
      if (!Number.isInteger(position) || position < 0 || position > rows.length) {
        throw new ShapeError(`KV position ${position} cannot follow ${rows.length} written ones`);
      }
      const row = rows[position] ?? { k: new Float32Array(width), v: new Float32Array(width) };
      rows[position] = row;
      store(row.k, k, lo);
      store(row.v, v, lo);
    },
    k: (position) => rowAt(position).k,
    v: (position) => rowAt(position).v,
  };
}
