/** @file linear: a task multiplies by its tiles' weights as they come from the stream. */
import type { OpInstance, StreamLayout, TaskBody, TaskContext } from "@mpk/schedule";
import { applyExpr, operand } from "../../shared/rows.ts";
import type { ExprOperand } from "../../shared/rows.ts";
import { inputAt, isVector } from "../../shared/shapes.ts";
import { readFloats, readVector, writeResult } from "../../shared/tasks.ts";
import { inputColumns, outputColumns, tileInterval } from "../../shared/tiles.ts";
import type { Interval } from "../../shared/tiles.ts";
import { chunkAdder, padRows } from "./chunks.ts";
import { linearInputs, linearPrologue, scaleProducts } from "./semantics.ts";
import type { LinearAttrs } from "./semantics.ts";
import { tileWidth } from "./tiling.ts";

type Op = OpInstance<LinearAttrs>;

/** x's rows as they enter the products. */
function* readX(op: Op, ctx: TaskContext): Generator<void, Float32Array, void> {
  const { gain, bias } = linearInputs(op.attrs, op.inputs.length);
  const k = inputColumns(op, 0);
  const x = readFloats(ctx, 0, { lo: 0, hi: k });
  yield;
  const [g, b] = [gain, bias].map((at) => (at === null ? null : readVector(ctx, at, k)));
  yield;
  return linearPrologue(op.attrs, x, k, g ?? null, b ?? null, ctx.eval.precision);
}

/** What scales the products of x's rows, if anything does. */
function* readSquares(op: Op, ctx: TaskContext) {
  const { squares } = linearInputs(op.attrs, op.inputs.length);
  if (squares === null) return null;
  const blocks = inputColumns(op, squares);
  const data = readFloats(ctx, squares, { lo: 0, hi: blocks });
  yield;
  return { data, blocks };
}

/** Sums [16, rows] of each of `tiles` tiles, from the next chunks of the stream. */
function* multiplyGroup(
  layout: StreamLayout,
  ctx: TaskContext,
  x: Float32Array,
  tiles: number,
): Generator<void, Float64Array[], void> {
  const { chunksPerTile, chunksPerSlice, blocksPerChunk, folds, k } = layout;
  const sums = Array.from({ length: tiles }, () => new Float64Array((16 * x.length) / k));
  const add = chunkAdder(layout, padRows(layout, x));
  for (let slice = 0; slice < chunksPerTile; slice += chunksPerSlice) {
    const end = Math.min(chunksPerTile, slice + chunksPerSlice);
    for (const tile of sums) {
      for (let chunk = slice; chunk < end; chunk++) {
        yield;
        add(ctx.nextChunk(), chunk * blocksPerChunk * folds * 32, tile);
      }
    }
  }
  return sums;
}

/** Products of one group of weights, [rows, columns], from sums by packed row: those of all folds. */
function productsOf(
  { folds, weights }: StreamLayout,
  sums: readonly Float64Array[],
  group: number,
  width: number,
  rows: number,
  columns: number,
): Float32Array {
  const out = new Float32Array(rows * columns);
  for (let column = 0; column < columns; column++) {
    const tile = sums[Math.floor(column / width)];
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (let fold = 0; fold < folds; fold++) {
        const packedRow = (fold * weights.length + group) * width + (column % width);
        sum += tile?.[packedRow * rows + row] ?? Number.NaN;
      }
      out[row * columns + column] = sum;
    }
  }
  return out;
}

/** The epilogue over columns [lo, hi) of the result. */
function* finish(
  op: Op,
  ctx: TaskContext,
  { lo, hi }: Interval,
  products: readonly Float32Array[],
  rows: number,
): Generator<void, void, void> {
  const operands: ExprOperand[] = products.map((data) => operand(data, false, false, hi - lo));
  for (const index of linearInputs(op.attrs, op.inputs.length).extras) {
    const vector = isVector(inputAt(op.inputs, index, "extra"));
    const scalar = vector && inputColumns(op, index) === 1;
    const data = readFloats(ctx, index, scalar ? { lo: 0, hi: 1 } : { lo, hi });
    operands.push(operand(data, vector, scalar, hi - lo));
    yield;
  }
  const { precision } = ctx.eval;
  const data = applyExpr(op.attrs.epilogue, operands, rows, hi - lo, precision);
  writeResult(op, ctx, { lo, hi }, data);
  yield;
}

export const task: TaskBody<LinearAttrs> = function* multiplyTiles(op, layout, ctx) {
  if (layout === null) throw new TypeError("linear streams its weights: a layout is needed");
  const x = yield* readX(op, ctx);
  const squares = yield* readSquares(op, ctx);
  const rows = x.length / layout.k;
  const width = tileWidth(op);
  for (let tile = ctx.tileLo; tile < ctx.tileHi; tile += layout.tilesPerGroup) {
    const end = Math.min(ctx.tileHi, tile + layout.tilesPerGroup);
    const sums = yield* multiplyGroup(layout, ctx, x, end - tile);
    const columns = tileInterval(outputColumns(op), width, tile, end);
    const products = layout.weights.map((_, group) => {
      const n = columns.hi - columns.lo;
      const own = productsOf(layout, sums, group, width, rows, n);
      if (squares !== null && op.attrs.norm !== null) {
        scaleProducts(op.attrs.norm, own, n, layout.k, squares);
      }
      return own;
    });
    yield* finish(op, ctx, columns, products, rows);
  }
};
