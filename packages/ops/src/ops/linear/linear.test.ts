/** @file linear, by example; and the laws of its stream layout. */
import type { Expr } from "@mpk/ir";
import { scheduleTable } from "@mpk/ops/schedule";
import type { StreamLayout } from "@mpk/schedule";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bf16, f32, opOf, typed, values } from "../../../test/run.ts";
import type { Attrs } from "../../../test/run.ts";

const arg = (index: number): Expr => ({ op: "arg", index });
const plain = {
  groups: 1,
  norm: null,
  round: null,
  lastRow: false,
  epilogue: arg(0),
  out: "f32",
} satisfies Attrs;

const x = f32(["T", 2], [1, 2, 3, 4]);
const w = bf16([3, 2], [1, 0, 0, 1, 1, 1]);

describe("its meaning", () => {
  it("is x times the transposed weight", () => {
    expect(values(opOf("linear", plain).run([x, w]))).toEqual([1, 2, 3, 3, 4, 7]);
  });

  it("takes the last row alone with lastRow", () => {
    const last = opOf("linear", { ...plain, lastRow: true }).run([x, w]);
    expect(values(last)).toEqual([3, 4, 7]);
    expect(last.type).toEqual(typed("f32", 1, 3));
  });

  it("gives the epilogue the products of all groups, then the extras", () => {
    const epilogue: Expr = {
      op: "add",
      x: { op: "mul", x: arg(0), y: arg(1) },
      y: { op: "mul", x: arg(2), y: arg(3) },
    };
    const op = opOf("linear", { ...plain, groups: 2, epilogue });
    const [bias, scale] = [bf16([3], [10, 20, 30]), f32([1], [2])];
    const result = op.run([x, w, bf16([3, 2], [2, 0, 0, 2, 2, 2]), bias, scale]);
    expect(values(result)).toEqual([22, 48, 78, 38, 72, 158]);
  });

  it("scales the products by the sums of squares of x before its gain", () => {
    // Of rows 3, 4 and 6, 8, in blocks of one column.
    const scaled = bf16(["T", 2], [3, 4, 6, 8]);
    const squares = f32(["T", 2], [9, 16, 36, 64]);
    const own = opOf("linear", { ...plain, norm: { kind: "squares", eps: 1e-12 } });
    const unit = bf16([2, 2], [1, 0, 0, 1]);
    expect(values(own.run([scaled, unit, squares])).map((y) => y * Math.sqrt(12.5)))
      .toEqual([3, 4, 3, 4].map((y) => expect.closeTo(y, 5)));
    const last = opOf("linear", { ...plain, lastRow: true, norm: { kind: "squares", eps: 1e-12 } });
    expect(values(last.run([bf16(["T", 2], [3, 4, 5, 0]), unit, f32(["T", 1], [9, 50])])))
      .toEqual([1, 0]);
    expect(() => own.infer(typed("bf16", "T", 2), typed("bf16", 2, 2), typed("bf16", 2))).toThrow(
      "squares must be f32 [T, blocks], sums of squares of x's rows, got bf16 [2]",
    );
  });

  it("norms, then rounds x at precision bf16 only, then rounds the result if it is bf16", () => {
    const fine = f32(["T", 1], [1 + 2 ** -9]);
    const one = bf16([1, 1], [1]);
    const rounding = opOf("linear", { ...plain, round: "bf16" });
    expect(values(rounding.run([fine, one], { precision: "f32" }))).toEqual([1 + 2 ** -9]);
    expect(values(rounding.run([fine, one], { precision: "bf16" }))).toEqual([1]);
    const out = opOf("linear", { ...plain, out: "bf16" });
    expect(values(out.run([fine, one], { precision: "bf16" }))).toEqual([1]);
    const norm = opOf("linear", { ...plain, norm: { kind: "rms", eps: 1e-12 } });
    expect(values(norm.run([f32(["T", 1], [5]), one, bf16([1], [3])]))).toEqual([3]);
  });
});

describe("its errors", () => {
  const { infer } = opOf("linear", plain);
  it("suggest a transposition", () => {
    expect(() => infer(typed("f32", "T", 4096), typed("bf16", 4096, 2048))).toThrow(
      "inner dimensions differ, x has 4096 and weight 0 2048; transpose the weight?",
    );
  });
  it("name the operand", () => {
    const [input, weight] = [typed("f32", "T", 4), typed("bf16", 8, 4)];
    expect(() => infer(input, typed("f32", 8, 4))).toThrow("weight 0 must be bf16, got f32 [8, 4]");
    expect(() => infer(input, weight, typed("f32", "T", 4))).toThrow(
      "extra 0 must be [T, 8], [8] or [1] to match the product, got f32 [T, 4]",
    );
    expect(() => infer(typed("i32", "T", 4), weight)).toThrow("cast it to f32 first");
    const two = opOf("linear", { ...plain, epilogue: arg(1) });
    expect(() => two.infer(input, weight)).toThrow(
      "epilogue uses argument 1, there are 1 products and 0 extras",
    );
  });
  it("name the attribute", () => {
    const parse = (own: Attrs) => () => opOf("linear", { ...plain, ...own });
    expect(parse({ groups: 3 })).toThrow("attribute groups: expected one of 1, 2, 4, 8, got 3");
    expect(parse({ norm: { kind: "rms" } })).toThrow("attribute norm.eps: expected a number above");
    expect(parse({ norm: { kind: "max", eps: 1 } })).toThrow("one of rms, layer");
    expect(parse({ out: "i32" })).toThrow('attribute out: expected one of "f32", "bf16"');
  });
});

describe("its stream layout", () => {
  const schedule = scheduleTable.get("linear")!;
  interface Request {
    readonly n: number;
    readonly k: number;
    readonly maxTokens: number;
    readonly activationBytes: number;
    readonly partialBytes: number;
    readonly pairs?: boolean;
  }
  function layoutFor(
    { n, k, maxTokens, pairs = false, ...bytes }: Request, dtype: "f32" | "bf16" = "f32",
  ): StreamLayout | null {
    const attrs = schedule.semantics.parseAttrs(plain);
    const inputs = [typed(dtype, "T", k), typed("bf16", n, k)];
    const outputs = schedule.semantics.infer(attrs, inputs);
    const op = { kind: "linear", attrs, inputs, outputs, maxTokens, pairs };
    const ring = { chunkBytes: 8192, consumerWarps: 8, stages: 16 };
    return schedule.packing.stream(op, { ...ring, ...bytes });
  }
  const requests = fc.record({
    n: fc.integer({ min: 1, max: 200_000 }),
    k: fc.integer({ min: 1, max: 30_000 }),
    maxTokens: fc.integer({ min: 1, max: 8 }),
    activationBytes: fc.integer({ min: 64 * 128, max: 200_000 }),
    partialBytes: fc.integer({ min: 512 * 64, max: 100_000 }),
  });

  it("covers K with chunks of at most a stage, and keeps to the budget", () => {
    fc.assert(
      fc.property(requests, (request) => {
        const layout = layoutFor(request)!;
        const { blocksPerChunk, chunksPerTile, chunksPerSlice, tilesPerGroup } = layout;
        expect(blocksPerChunk * 1024).toBeLessThanOrEqual(8192);
        expect(blocksPerChunk * chunksPerTile * 32).toBeGreaterThanOrEqual(request.k);
        // No chunk is padding alone.
        expect(blocksPerChunk * (chunksPerTile - 1) * 32).toBeLessThan(request.k);
        expect(chunksPerSlice).toBeGreaterThanOrEqual(1);
        // One token's x: those of a few tokens wait in registers.
        const sliceBytes = chunksPerSlice * blocksPerChunk * 64 + 64;
        expect(sliceBytes).toBeLessThanOrEqual(request.activationBytes);
        // Tile after tile, whatever the budget.
        if (chunksPerSlice < chunksPerTile) expect(tilesPerGroup).toBe(1);
        const sumBytes = tilesPerGroup * 8 * 16 * request.maxTokens * 4;
        expect(tilesPerGroup).toBeGreaterThanOrEqual(1);
        expect(sumBytes).toBeLessThanOrEqual(request.partialBytes);
      }),
    );
  });

  it("has slices that pairs of tiles share, a chunk a warp, where x of a few tokens is read for each tile", () => {
    const down = { n: 4096, k: 12_288, activationBytes: 25_600, partialBytes: 4096, maxTokens: 8 };
    const inPairs = { ...down, pairs: true };
    const apart = { chunksPerTile: 48, chunksPerSlice: 48 };
    expect(layoutFor(inPairs, "bf16"))
      .toMatchObject({ chunksPerTile: 48, chunksPerSlice: 8, tilesPerGroup: 2 });
    expect(layoutFor(down, "bf16")).toMatchObject(apart);
    expect(layoutFor({ ...inPairs, maxTokens: 1 }, "bf16")).toMatchObject(apart);
    expect(layoutFor(inPairs, "f32")).toMatchObject(apart);
    // x stays in registers; the warps do not have the same chunks of each tile.
    expect(layoutFor({ ...inPairs, k: 4096 }, "bf16")).toMatchObject({ chunksPerSlice: 16 });
    expect(layoutFor({ ...inPairs, k: 11_264 }, "bf16")).toMatchObject({ chunksPerSlice: 44 });
  });

  it("has slices of a chunk that tiles share where steps have many tokens", () => {
    const wide = fc.record({
      n: fc.integer({ min: 1, max: 200_000 }),
      k: fc.integer({ min: 1, max: 30_000 }),
      maxTokens: fc.integer({ min: 9, max: 64 }),
      activationBytes: fc.integer({ min: 64 * 520, max: 200_000 }),
      partialBytes: fc.integer({ min: 512, max: 4096 }),
    });
    fc.assert(
      fc.property(wide, (request) => {
        const layout = layoutFor(request)!;
        const { blocksPerChunk, chunksPerTile, chunksPerSlice, tilesPerGroup } = layout;
        expect(chunksPerSlice).toBe(1);
        expect(blocksPerChunk * 1024).toBeLessThanOrEqual(8192);
        expect(blocksPerChunk * chunksPerTile * 32).toBeGreaterThanOrEqual(request.k);
        expect(blocksPerChunk * (chunksPerTile - 1) * 32).toBeLessThan(request.k);
        // Three slices for all rows, which are 16, 32 or 64, and what their norms need.
        const rows = request.maxTokens <= 16 ? 16 : request.maxTokens <= 32 ? 32 : 64;
        const work = request.activationBytes + 2 * request.partialBytes;
        expect(rows * (3 * blocksPerChunk * 64 + 8)).toBeLessThanOrEqual(work);
        // A warp has the sums of two tiles in registers.
        expect(tilesPerGroup).toBeGreaterThanOrEqual(1);
        expect(tilesPerGroup).toBeLessThanOrEqual(16);
        // One token's x is there as a whole if it can be, the sums of eight warps beside it.
        const one = chunksPerTile * blocksPerChunk * 64;
        const free = work - rows * 8;
        if (one + 512 <= free) expect(one + tilesPerGroup * 512).toBeLessThanOrEqual(free);
      }),
    );
  });

  it("is for one token where an op has one row, however many tokens a step has", () => {
    const bytes = { activationBytes: 16448, partialBytes: 2048 };
    const attrs = schedule.semantics.parseAttrs({ ...plain, lastRow: true });
    const inputs = [typed("f32", "T", 4096), typed("bf16", 1024, 4096)];
    const outputs = schedule.semantics.infer(attrs, inputs);
    const op = { kind: "linear", attrs, inputs, outputs, maxTokens: 64 };
    const ring = { chunkBytes: 8192, consumerWarps: 8, stages: 16 };
    expect(schedule.packing.stream(op, { ...ring, ...bytes }))
      .toMatchObject({ blocksPerChunk: 8, chunksPerSlice: 16, tilesPerGroup: 4 });
  });

  it("is as documented for a known shape: K = 4096, one token, all of it at once", () => {
    const bytes = { activationBytes: 16384, partialBytes: 4096 };
    expect(layoutFor({ n: 1024, k: 4096, maxTokens: 1, ...bytes })).toEqual({
      format: "mma-a-bf16",
      weights: [1],
      n: 1024,
      k: 4096,
      blocksPerChunk: 8,
      chunksPerTile: 16,
      chunksPerSlice: 16,
      tilesPerGroup: 8,
      folds: 1,
    });
  });

  it("refuses a budget that holds no block or no tile", () => {
    const shape = { n: 16, k: 64, maxTokens: 8 };
    expect(() => layoutFor({ ...shape, activationBytes: 100, partialBytes: 4096 })).toThrow(
      "100 bytes of activations and 8192 a chunk are too few, one K block needs 128 and 1024",
    );
    expect(() => layoutFor({ ...shape, activationBytes: 4096, partialBytes: 4095 })).toThrow(
      "4095 bytes of partial sums are too few, one tile needs 4096; lower maxTokens",
    );
    const wide = { ...shape, maxTokens: 64, activationBytes: 30_000, partialBytes: 512 };
    expect(() => layoutFor(wide)).toThrow(
      "31024 bytes of shared memory beside the ring are too few for steps of 64 tokens, " +
        "which need 33280; lower maxTokens",
    );
  });
});
