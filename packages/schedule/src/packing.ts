/** @file Lays weights out as a StreamLayout says, and reads them back. Pure. */
import { bf16BitsOf } from "@mpk/ir";
import type { StreamLayout } from "./contracts.ts";

/** Rows of a tile: those of the A operand of mma.m16n8k16. */
export const tileRows = 16;
/** Columns of a K block: two fragments. */
export const blockColumns = 32;
/** Bytes of a K block of one tile. */
export const blockBytes = tileRows * blockColumns * 2;

/** One chunk of a stream: number `chunk` (by ascending K) of tile `tile`. */
export interface ChunkPlace {
  readonly tile: number;
  readonly chunk: number;
}

/** Bytes of one chunk. */
export const chunkBytesOf = (layout: StreamLayout): number => layout.blocksPerChunk * blockBytes;

/** Whether the tiles of a group take turns in slices of K. */
export const takesTurns = ({ tilesPerGroup, chunksPerSlice, chunksPerTile }: StreamLayout): boolean =>
  tilesPerGroup > 1 && chunksPerSlice < chunksPerTile;

/** What a layout says of the planner's choices for its op. */
export const choicesOf = (
  layout: StreamLayout | null,
): { readonly folds: number; readonly pairs: boolean } =>
  ({ folds: layout?.folds ?? 1, pairs: layout !== null && takesTurns(layout) });

/** Columns of one chunk, of each fold of K. */
export const chunkColumns = (layout: StreamLayout): number => layout.blocksPerChunk * blockColumns;

/** Columns of x for all chunks of a tile: K and its padding. */
export const paddedColumns = (layout: StreamLayout): number =>
  layout.chunksPerTile * chunkColumns(layout) * layout.folds;

/** Rows that one tile holds of each group's weight: its output columns. */
export const tileColumns = (layout: StreamLayout): number =>
  tileRows / layout.weights.length / layout.folds;

/** Of a packed row: its row in the tile, its group, and its fold of K. */
export function packedRowOf(layout: StreamLayout, packedRow: number) {
  const width = tileColumns(layout);
  const part = Math.floor(packedRow / width);
  const groups = layout.weights.length;
  return { row: packedRow % width, group: part % groups, fold: Math.floor(part / groups) };
}

/** Tiles of the whole op. */
export const tileCount = (layout: StreamLayout): number =>
  Math.ceil(layout.n / tileColumns(layout));

/** The chunks of tiles [tileLo, tileHi) in stream order. */
export function* chunkOrder(
  layout: StreamLayout,
  tileLo: number,
  tileHi: number,
): Generator<ChunkPlace, void, void> {
  const { tilesPerGroup, chunksPerSlice, chunksPerTile } = layout;
  for (let group = tileLo; group < tileHi; group += tilesPerGroup) {
    const groupEnd = Math.min(tileHi, group + tilesPerGroup);
    for (let slice = 0; slice < chunksPerTile; slice += chunksPerSlice) {
      const sliceEnd = Math.min(chunksPerTile, slice + chunksPerSlice);
      for (let tile = group; tile < groupEnd; tile++) {
        for (let chunk = slice; chunk < sliceEnd; chunk++) yield { tile, chunk };
      }
    }
  }
}

/**
 * Where the elements of one K block lie: element e of the block's 512 is packed row `row[e]`,
 * column `column[e]` of the block. The one place that states the fragment order.
 */
function blockElements(): { readonly row: Uint8Array; readonly column: Uint8Array } {
  const row = new Uint8Array(tileRows * blockColumns);
  const column = new Uint8Array(row.length);
  for (let e = 0; e < row.length; e++) {
    const [fragment, lane, item] = [e >> 8, (e >> 3) & 31, e & 7];
    const [g, q] = [lane >> 2, lane & 3];
    // Items: row g, row g + 8, row g, row g + 8; two columns each, the last four 2 columns on.
    row[e] = g + 8 * ((item >> 1) & 1);
    column[e] = 8 * q + 4 * fragment + 2 * (item >> 2) + (item & 1);
  }
  return { row, column };
}

const element = blockElements();

/** bf16 bits (Uint16Array) or float32 numbers, which are rounded to nearest even; [n, k]. */
export type PackableWeight = Uint16Array | Float32Array;

/**
 * The stream of tiles [tileLo, tileHi): their chunks in stream order, bf16 in little-endian byte
 * order. `weights`: one [n, k] for each of the layout's groups. Throws `RangeError` where a weight
 * is missing or of another size, or a tile is outside the op.
 */
export function packStream(
  layout: StreamLayout,
  weights: readonly PackableWeight[],
  tileLo: number,
  tileHi: number,
): Uint8Array {
  checkWeights(layout, weights);
  if (tileLo < 0 || tileHi > tileCount(layout) || tileLo > tileHi) {
    const range = `tiles ${tileLo} to ${tileHi}`;
    throw new RangeError(`packStream: ${range} are outside the op's 0 to ${tileCount(layout)}`);
  }
  const bytes = new Uint8Array((tileHi - tileLo) * layout.chunksPerTile * chunkBytesOf(layout));
  const out = new DataView(bytes.buffer);
  let at = 0;
  for (const place of chunkOrder(layout, tileLo, tileHi)) {
    packChunk(layout, weights, place, out, at);
    at += chunkBytesOf(layout);
  }
  return bytes;
}

function checkWeights(layout: StreamLayout, weights: readonly PackableWeight[]): void {
  const { n, k } = layout;
  layout.weights.forEach((input, group) => {
    const length = weights[group]?.length ?? 0;
    if (length === n * k) return;
    const got = `weight ${group} (input ${input}) has ${length}`;
    throw new RangeError(`packStream: ${got}, not [${n}, ${k}] = ${n * k} numbers`);
  });
}

function packChunk(
  layout: StreamLayout,
  weights: readonly PackableWeight[],
  place: ChunkPlace,
  out: DataView,
  at: number,
): void {
  const { n, k, blocksPerChunk, folds } = layout;
  const width = tileColumns(layout);
  const rows = Array.from({ length: tileRows }, (_, packedRow) => packedRowOf(layout, packedRow));
  for (let block = 0; block < blocksPerChunk; block++) {
    const first = (place.chunk * blocksPerChunk + block) * folds;
    for (let e = 0; e < element.row.length; e++) {
      const of = rows[element.row[e] ?? 0];
      if (of === undefined) continue;
      const row = place.tile * width + of.row;
      const column = (first + of.fold) * blockColumns + (element.column[e] ?? 0);
      if (row >= n || column >= k) continue;
      const weight = weights[of.group];
      const value = weight?.[row * k + column] ?? 0;
      const bits = weight instanceof Uint16Array ? value : bf16BitsOf(value);
      out.setUint16(at + block * blockBytes + 2 * e, bits, true);
    }
  }
}

/**
 * One chunk as bf16 bits [16, chunkColumns], row-major: packed row by column from the chunk's
 * first. Throws `RangeError` where the chunk has another size than the layout says.
 */
export function unpackChunk(layout: StreamLayout, chunk: Uint8Array): Uint16Array {
  if (chunk.length !== chunkBytesOf(layout)) {
    const expected = `${chunkBytesOf(layout)} bytes, ${layout.blocksPerChunk} K blocks`;
    throw new RangeError(`unpackChunk: a chunk has ${expected}, got ${chunk.length} bytes`);
  }
  const columns = chunkColumns(layout);
  const bytes = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
  const out = new Uint16Array(tileRows * columns);
  for (let block = 0; block < layout.blocksPerChunk; block++) {
    for (let e = 0; e < element.row.length; e++) {
      const column = block * blockColumns + (element.column[e] ?? 0);
      const bits = bytes.getUint16(block * blockBytes + 2 * e, true);
      out[(element.row[e] ?? 0) * columns + column] = bits;
    }
  }
  return out;
}

/**
 * The inverse of `packStream`: bf16 bits of each group's rows of tiles [tileLo, tileHi),
 * [rows, paddedColumns], padding included: rows = tiles · tileColumns.
 */
export function unpackStream(
  layout: StreamLayout,
  stream: Uint8Array,
  tileLo: number,
  tileHi: number,
): Uint16Array[] {
  const { blocksPerChunk, folds } = layout;
  const width = tileColumns(layout);
  const columns = chunkColumns(layout);
  const paddedK = paddedColumns(layout);
  const out = layout.weights.map(() => new Uint16Array((tileHi - tileLo) * width * paddedK));
  let at = 0;
  for (const { tile, chunk } of chunkOrder(layout, tileLo, tileHi)) {
    const bits = unpackChunk(layout, stream.subarray(at, at + chunkBytesOf(layout)));
    at += chunkBytesOf(layout);
    for (let packedRow = 0; packedRow < tileRows; packedRow++) {
      const { row, group, fold } = packedRowOf(layout, packedRow);
      for (let block = 0; block < blocksPerChunk; block++) {
        const own = (chunk * blocksPerChunk + block) * folds + fold;
        const from = packedRow * columns + block * blockColumns;
        out[group]?.set(
          bits.subarray(from, from + blockColumns),
          ((tile - tileLo) * width + row) * paddedK + own * blockColumns,
        );
      }
    }
  }
  return out;
}
