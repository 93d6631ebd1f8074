/**
 * @file Reads weights out of stream chunks, as `StreamLayout` documents their order. The virtual
 * GPU's tasks use this instead of the packing code, so that neither can hide the other's mistake.
 */
import type { StreamLayout } from "@mpk/schedule";

const laneBytes = 16;

/**
 * Adds a chunk's products to `sums` [16, tokens]: packed row r times x [tokens, k]. `firstColumn`:
 * K column of the chunk's first. Columns beyond k hold zeros and are left out.
 */
export function addChunk(
  layout: StreamLayout,
  chunk: Uint8Array,
  firstColumn: number,
  x: Float32Array,
  sums: Float64Array,
): void {
  const { k } = layout;
  const tokens = x.length / k;
  const weights = bf16Values(chunk);
  const pairs = chunk.length / laneBytes;
  for (let lane = 0; lane < pairs; lane++) {
    const [g, q] = [(lane & 31) >> 2, lane & 3];
    const [fragment, block] = [(lane >> 5) & 1, lane >> 6];
    const column = firstColumn + 32 * block + 8 * q + 4 * fragment;
    const width = Math.min(4, k - column);
    for (let i = 0; i < width; i++) {
      // A lane's eight numbers: rows g, g + 8 of columns 0, 1, then of columns 2, 3.
      const at = lane * 8 + (i >> 1) * 4 + (i & 1);
      const [upper, lower] = [weights[at] ?? 0, weights[at + 2] ?? 0];
      for (let token = 0; token < tokens; token++) {
        const value = x[token * k + column + i] ?? 0;
        sums[g * tokens + token] = (sums[g * tokens + token] ?? 0) + upper * value;
        sums[(g + 8) * tokens + token] = (sums[(g + 8) * tokens + token] ?? 0) + lower * value;
      }
    }
  }
}

/** Little-endian bf16 as float32. */
function bf16Values(bytes: Uint8Array): Float32Array {
  const words = new Uint32Array(bytes.length / 2);
  for (let i = 0; i < words.length; i++) {
    words[i] = ((bytes[2 * i] ?? 0) << 16) | ((bytes[2 * i + 1] ?? 0) << 24);
  }
  return new Float32Array(words.buffer);
}
