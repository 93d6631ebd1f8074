/** @file The toy table's streamed contraction: integer weights, so every summation order agrees. */
import { fromBf16Bits, ShapeError } from "@mpk/ir";
import type { Json, OpSemantics, Tensor, TensorType } from "@mpk/ir";
import type { OpInstance, OpPacking, OpSchedule, OpTiling, StreamLayout } from "../contracts.ts";
import { chunkColumns, chunkOrder, tileRows, unpackChunk } from "../packing.ts";
import { columnsOf, rowsOf } from "../planner/shapes.ts";
import { wrap } from "./wrap.ts";

interface MatmulAttrs {
  readonly groups: number;
  /** Chunks per K slice; 0: one slice. */
  readonly slice: number;
  readonly lastRow: boolean;
}

/** Output column `n` is wrap(sum over groups g of (g + 1) * x . w_g[n]). */
const semantics: OpSemantics<MatmulAttrs> = {
  name: "matmul",
  summary: "Product with one or two streamed weights, wrapped to small integers.",
  traits: {
    pointwise: false, contraction: true, rowNorm: false, view: false, cast: false,
    stateful: false, effect: false,
  },
  parseAttrs(attrs: { readonly [key: string]: Json }): MatmulAttrs {
    const { groups, slice, lastRow } = attrs;
    if (groups !== 1 && groups !== 2) throw new ShapeError("groups must be 1 or 2");
    if (typeof slice !== "number") throw new ShapeError("slice must be a number");
    return { groups, slice, lastRow: lastRow === true };
  },
  infer(attrs: MatmulAttrs, inputs: readonly TensorType[]): readonly TensorType[] {
    const [x, w] = inputs;
    if (x === undefined || w === undefined || columnsOf(x) !== columnsOf(w)) {
      throw new ShapeError("x and the weight must have the same number of columns");
    }
    return [{ dtype: "f32", shape: [attrs.lastRow ? 1 : (x.shape[0] ?? 1), w.shape[0] ?? 1] }];
  },
  evaluate(attrs: MatmulAttrs, inputs: readonly Tensor[]): readonly Tensor[] {
    const [x, ...weights] = inputs;
    if (x === undefined) throw new ShapeError("matmul needs x");
    const k = columnsOf(x.type);
    const [out] = semantics.infer(attrs, inputs.map((input) => input.type));
    if (out === undefined) throw new ShapeError("matmul has one output");
    const n = columnsOf(out);
    const rows = x.data.length / k;
    const firstRow = attrs.lastRow ? rows - 1 : 0;
    const data = new Float32Array((rows - firstRow) * n);
    for (let row = firstRow; row < rows; row++) {
      for (let column = 0; column < n; column++) {
        let sum = 0;
        weights.slice(0, attrs.groups).forEach((weight, g) => {
          for (let i = 0; i < k; i++) {
            sum += (g + 1) * (x.data[row * k + i] ?? 0) * (weight.data[column * k + i] ?? 0);
          }
        });
        data[(row - firstRow) * n + column] = wrap(sum);
      }
    }
    return [{ type: out, shape: [rows - firstRow, n], data }];
  },
};

function sizes(op: OpInstance<MatmulAttrs>): { n: number; k: number; perTile: number } {
  const [, w] = op.inputs;
  const n = Number(w?.shape[0] ?? 0);
  return { n, k: Number(w?.shape[1] ?? 0), perTile: tileRows / op.attrs.groups };
}

const tiling: OpTiling<MatmulAttrs> = {
  tiles: (op) => Math.ceil(sizes(op).n / sizes(op).perTile),
  view: () => null,
  placement: "spread",
  regions(op, lo, hi) {
    const { n, k, perTile } = sizes(op);
    return {
      reads: [{ operand: "input", index: 0, lo: 0, hi: k }],
      writes: [{ operand: "output", index: 0, lo: lo * perTile, hi: Math.min(n, hi * perTile) }],
      states: [],
    };
  },
  tileCostBytes: () => 0,
  flags: { polls: () => [0], stores: () => true },
};

const packing: OpPacking<MatmulAttrs> = {
  resident: () => [],
  stream(op, budget): StreamLayout {
    const { n, k } = sizes(op);
    const blocks = Math.ceil(k / 32);
    // The smallest chunks there are, so that tiny products go round the ring.
    const [blocksPerChunk, chunksPerTile] = [1, blocks];
    const tileBytes = budget.consumerWarps * tileRows * op.maxTokens * 4;
    // A row of a slice's activations takes 64 bytes a chunk, and 64 more.
    const fitting = Math.floor((budget.activationBytes / op.maxTokens - 64) / 64);
    const most = Math.max(1, Math.min(chunksPerTile, fitting));
    return {
      format: "mma-a-bf16",
      weights: Array.from({ length: op.attrs.groups }, (_, g) => g + 1),
      n, k, blocksPerChunk, chunksPerTile,
      chunksPerSlice: op.attrs.slice > 0 ? Math.min(op.attrs.slice, most) : most,
      tilesPerGroup: Math.max(1, Math.floor(budget.partialBytes / tileBytes)),
      folds: 1,
    };
  },
};

/** A contraction over streamed weights: inputs x [R, K], then one bf16 [N, K] per group. */
export const matmul: OpSchedule<MatmulAttrs> = {
  semantics,
  tiling,
  packing,
  *task(op, layout, ctx) {
    if (layout === null) throw new ShapeError("matmul streams its weights; layout is null");
    const { n, k, perTile } = sizes(op);
    const [outType] = op.outputs;
    yield;
    const read = ctx.read(0, 0, k);
    const rows = outType === undefined ? 1 : rowsOf(outType, ctx.eval.tokens);
    const x = op.attrs.lastRow ? read.subarray(read.length - k) : read;
    const columns = Math.min(n, ctx.tileHi * perTile) - ctx.tileLo * perTile;
    const sums = new Float64Array(rows * columns);
    for (const { tile, chunk } of chunkOrder(layout, ctx.tileLo, ctx.tileHi)) {
      const bytes = ctx.nextChunk();
      const width = chunkColumns(layout);
      fromBf16Bits(unpackChunk(layout, bytes)).forEach((value, i) => {
        const row = Math.floor(i / width);
        const column = chunk * width + (i % width);
        const out = (tile - ctx.tileLo) * perTile + (row % perTile);
        // Rows beyond n and columns beyond k are zero padding.
        if (out >= columns || column >= k) return;
        const scale = Math.floor(row / perTile) + 1;
        for (let r = 0; r < rows; r++) {
          const at = r * columns + out;
          sums[at] = (sums[at] ?? 0) + scale * value * (x[r * k + column] ?? 0);
        }
      });
      yield;
    }
    const lo = ctx.tileLo * perTile;
    ctx.write(0, lo, lo + columns, Float32Array.from(sums, wrap));
  },
};
