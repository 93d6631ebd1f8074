/** @file Packing laws: unpacking gives the weights back, padding is zero, the order is stated. */
import { toBf16Bits } from "@mpk/ir";
import type { StreamLayout } from "@mpk/schedule";
import {
  blockColumns,
  chunkBytesOf,
  chunkOrder,
  packStream,
  paddedColumns,
  tileColumns,
  tileCount,
  unpackChunk,
  unpackStream,
} from "@mpk/schedule";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const layouts: fc.Arbitrary<StreamLayout> = fc
  .record({
    groups: fc.constantFrom(1, 2, 4, 8),
    n: fc.integer({ min: 1, max: 70 }),
    k: fc.integer({ min: 1, max: 300 }),
    blocksPerChunk: fc.integer({ min: 1, max: 8 }),
    chunksPerSlice: fc.integer({ min: 1, max: 5 }),
    tilesPerGroup: fc.integer({ min: 1, max: 4 }),
    folds: fc.constantFrom(1, 2, 4),
  })
  .filter(({ groups, folds }) => groups * folds <= 8)
  .map(({ groups, k, blocksPerChunk, ...rest }) => ({
    format: "mma-a-bf16",
    weights: Array.from({ length: groups }, (_, i) => i + 1),
    k,
    blocksPerChunk,
    chunksPerTile: Math.ceil(Math.ceil(k / blockColumns / rest.folds) / blocksPerChunk),
    ...rest,
  }));

/** Distinct bits for each element, so that no two places can be confused. */
const weightsFor = (layout: StreamLayout): Uint16Array[] =>
  layout.weights.map((_, group) =>
    Uint16Array.from({ length: layout.n * layout.k }, (_, i) => 1 + ((i * 8 + group) % 65521)),
  );

const instances = layouts.chain((layout) =>
  fc
    .tuple(fc.nat(tileCount(layout)), fc.nat(tileCount(layout)))
    .map(([a, b]) => ({ layout, lo: Math.min(a, b), hi: Math.max(a, b) })),
);

describe("packing", () => {
  it("unpacks to the weights, padded with zeros", () => {
    fc.assert(
      fc.property(instances, ({ layout, lo, hi }) => {
        const weights = weightsFor(layout);
        const unpacked = unpackStream(layout, packStream(layout, weights, lo, hi), lo, hi);
        const paddedK = paddedColumns(layout);
        const firstRow = lo * tileColumns(layout);
        unpacked.forEach((bits, group) => {
          bits.forEach((value, i) => {
            const [row, column] = [firstRow + Math.floor(i / paddedK), i % paddedK];
            const inside = row < layout.n && column < layout.k;
            expect(value).toBe(inside ? weights[group]?.[row * layout.k + column] : 0);
          });
        });
      }),
      { numRuns: 60 },
    );
  });

  it("streams every chunk of a task once", () => {
    fc.assert(
      fc.property(instances, ({ layout, lo, hi }) => {
        const places = [...chunkOrder(layout, lo, hi)].map(({ tile, chunk }) => `${tile}.${chunk}`);
        expect(new Set(places).size).toBe(places.length);
        expect(places.length).toBe((hi - lo) * layout.chunksPerTile);
        const bytes = packStream(layout, weightsFor(layout), lo, hi);
        expect(bytes.length).toBe(places.length * chunkBytesOf(layout));
      }),
      { numRuns: 60 },
    );
  });

  it("rounds float32 weights to bf16", () => {
    const layout = oneBlock(1);
    const floats = Float32Array.from({ length: 512 }, (_, i) => Math.fround(Math.sin(i)));
    const packed = packStream(layout, [floats], 0, 1);
    expect(packed).toEqual(packStream(layout, [toBf16Bits(floats)], 0, 1));
  });

  it("puts lane 4 g + q of fragment s where mma.m16n8k16 wants it", () => {
    const bits = Uint16Array.from({ length: 512 }, (_, i) => i);
    const packed = new Uint16Array(packStream(oneBlock(1), [bits], 0, 1).buffer);
    // Fragment 1, g = 3, q = 2: row 3 and 11, columns 20 to 23.
    const at = 256 + (4 * 3 + 2) * 8;
    const [row3, row11] = [3 * 32 + 20, 11 * 32 + 20];
    const expected = [row3, row3 + 1, row11, row11 + 1, row3 + 2, row3 + 3, row11 + 2, row11 + 3];
    expect([...packed.subarray(at, at + 8)]).toEqual(expected);
    expect(unpackChunk(oneBlock(1), new Uint8Array(packed.buffer))).toEqual(bits);
  });

  it("stacks the groups of a tile", () => {
    const layout = { ...oneBlock(2), n: 8 };
    const [gate, up] = [new Uint16Array(256).fill(1), new Uint16Array(256).fill(2)];
    const rows = unpackChunk(layout, packStream(layout, [gate, up], 0, 1));
    expect(new Set(rows.subarray(0, 256))).toEqual(new Set([1]));
    expect(new Set(rows.subarray(256))).toEqual(new Set([2]));
  });

  it("stacks the folds of a tile, each with every so manieth block of columns", () => {
    const layout = { ...oneBlock(2), n: 4, k: 64, folds: 2 };
    const block = (group: number): Uint16Array =>
      Uint16Array.from({ length: 256 }, (_, i) => 10 * group + (i % 64 < 32 ? 1 : 2));
    const rows = unpackChunk(layout, packStream(layout, [block(1), block(2)], 0, 1));
    const each = [0, 1, 2, 3].map((i) => [...new Set(rows.subarray(128 * i, 128 * (i + 1)))]);
    expect(each).toEqual([[11], [21], [12], [22]]);
  });

  it("names a weight of the wrong size", () => {
    expect(() => packStream(oneBlock(1), [new Uint16Array(500)], 0, 1)).toThrow(
      "packStream: weight 0 (input 1) has 500, not [16, 32] = 512 numbers",
    );
  });
});

/** A layout of one tile and one K block. */
const oneBlock = (groups: number): StreamLayout => ({
  format: "mma-a-bf16",
  weights: Array.from({ length: groups }, (_, i) => i + 1),
  n: 16,
  k: 32,
  blocksPerChunk: 1,
  chunksPerTile: 1,
  chunksPerSlice: 1,
  tilesPerGroup: 1,
  folds: 1,
});
