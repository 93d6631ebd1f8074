/**
 * @file Reads weights out of stream chunks, as `StreamLayout` documents their order. The virtual
 * GPU's tasks use this instead of the packing code, so that neither can hide the other's mistake.
 */
import type { StreamLayout } from "@mpk/schedule";

/** Columns of all chunks of a tile: K and its padding. */
export const paddedColumns = ({ chunksPerTile, blocksPerChunk, folds }: StreamLayout): number =>
  chunksPerTile * blocksPerChunk * folds * 32;

/** x [tokens, k] as [tokens, paddedColumns], the padding zero. */
export function padRows(layout: StreamLayout, x: Float32Array): Float32Array {
  const padded = paddedColumns(layout);
  if (padded === layout.k) return x;
  const tokens = x.length / layout.k;
  const out = new Float32Array(tokens * padded);
  for (let token = 0; token < tokens; token++) {
    out.set(x.subarray(token * layout.k, (token + 1) * layout.k), token * padded);
  }
  return out;
}

/** Numbers of a chunk. */
const chunkNumbers = (layout: StreamLayout): number => layout.blocksPerChunk * 512;

/**
 * A function that adds a chunk's products to `sums` [16, tokens]: packed row r times
 * x [tokens, paddedColumns]. `firstColumn`: K column of the chunk's first. Sums are float64.
 */
export function chunkAdder(
  layout: StreamLayout,
  x: Float32Array,
): (chunk: Uint8Array, firstColumn: number, sums: Float64Array) => void {
  const columns = paddedColumns(layout);
  const tokens = x.length / columns;
  const { folds } = layout;
  const foldRows = 16 / folds;
  const decode = bf16Decoder(chunkNumbers(layout));
  return (chunk, firstColumn, sums) => {
    const w = decode(chunk);
    // No destructuring here: it would allocate in the innermost loops.
    for (let at = 0; at < w.length; at += 8) {
      const lane = at >> 3;
      const row = (lane & 31) >> 2;
      // Each fold of K has its own rows, and every so manieth block of columns.
      const column =
        firstColumn + 32 * folds * (lane >> 6) + 8 * (lane & 3) + 4 * ((lane >> 5) & 1);
      const upperColumn = column + 32 * Math.floor(row / foldRows);
      const lowerColumn = column + 32 * Math.floor((row + 8) / foldRows);
      for (let token = 0; token < tokens; token++) {
        const from = token * columns + upperColumn;
        const x0 = x[from] ?? 0;
        const x1 = x[from + 1] ?? 0;
        const x2 = x[from + 2] ?? 0;
        const x3 = x[from + 3] ?? 0;
        const below = token * columns + lowerColumn;
        const y0 = x[below] ?? 0;
        const y1 = x[below + 1] ?? 0;
        const y2 = x[below + 2] ?? 0;
        const y3 = x[below + 3] ?? 0;
        // A lane's eight numbers: rows g, g + 8 of columns 0, 1, then of columns 2, 3.
        const upper = (w[at] ?? 0) * x0 + (w[at + 1] ?? 0) * x1;
        const lower = (w[at + 2] ?? 0) * y0 + (w[at + 3] ?? 0) * y1;
        const upperAt = row * tokens + token;
        const lowerAt = upperAt + 8 * tokens;
        const more = (w[at + 4] ?? 0) * x2 + (w[at + 5] ?? 0) * x3;
        sums[upperAt] = (sums[upperAt] ?? 0) + (upper + more);
        const rest = (w[at + 6] ?? 0) * y2 + (w[at + 7] ?? 0) * y3;
        sums[lowerAt] = (sums[lowerAt] ?? 0) + (lower + rest);
      }
    }
  };
}

/**
 * Little-endian bf16 as float32, `count` numbers, in a buffer that the next call writes again.
 * Reads 16-bit words, as every platform that Node runs models on is little-endian.
 */
function bf16Decoder(count: number): (bytes: Uint8Array) => Float32Array {
  const words = new Uint32Array(count);
  const floats = new Float32Array(words.buffer);
  return (bytes) => {
    if (bytes.length !== 2 * count) {
      throw new RangeError(`a chunk of this layout has ${2 * count} bytes, got ${bytes.length}`);
    }
    const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
    const bits = new Uint16Array(aligned.buffer, aligned.byteOffset, count);
    for (let i = 0; i < count; i++) words[i] = (bits[i] ?? 0) << 16;
    return floats;
  };
}
