/** @file The toy table's other ops: lookup, pointwise, shuffle, views, a stateful mix, a choice. */
import { ShapeError } from "@mpk/ir";
import type { EvalContext, Json, OpSemantics, Tensor, TensorType, Traits } from "@mpk/ir";
import type { OpInstance, OpPacking, OpSchedule, OpTiling } from "../contracts.ts";
import { columnsOf, rowsOf } from "../planner/shapes.ts";
import { wrap } from "./wrap.ts";

type Attrs = { readonly [key: string]: Json };

const plain: Traits = {
  pointwise: false, contraction: false, rowNorm: false, view: false, cast: false,
  stateful: false, effect: false,
};
const noStream: OpPacking<Attrs> = { resident: () => [], stream: () => null };
/** Columns of one tile of the spread ops: small, so that tiny programs have many tiles. */
const tileColumns = 8;

function numberAttr(attrs: Attrs, key: string): number {
  const value = attrs[key];
  if (typeof value !== "number") throw new ShapeError(`${key} must be a number`);
  return value;
}

function typeAt(types: readonly TensorType[], index: number): TensorType {
  const type = types[index];
  if (type === undefined) throw new ShapeError(`operand ${index} is missing`);
  return type;
}

/** A result of the given type, made element by element. */
function build(
  type: TensorType,
  ctx: EvalContext,
  at: (row: number, column: number) => number,
): Tensor {
  const rows = rowsOf(type, ctx.tokens);
  const columns = columnsOf(type);
  const data = new (type.dtype === "i32" ? Int32Array : Float32Array)(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let c = 0; c < columns; c++) data[row * columns + c] = at(row, c);
  }
  return { type, shape: type.shape.map((dim) => (dim === "T" ? rows : dim)), data };
}

function define(
  name: string,
  summary: string,
  traits: Partial<Traits>,
  infer: (attrs: Attrs, inputs: readonly TensorType[]) => TensorType,
  evaluate: OpSemantics<Attrs>["evaluate"],
): OpSemantics<Attrs> {
  return {
    name,
    summary,
    traits: { ...plain, ...traits },
    parseAttrs: (attrs) => attrs,
    infer: (attrs, inputs) => [infer(attrs, inputs)],
    evaluate,
  };
}

/** Tiles of eight output columns that read the same columns of every listed input. */
function columnTiles(
  reads: (op: OpInstance<Attrs>, lo: number, hi: number) => readonly [number, number, number][],
  polls: (op: OpInstance<Attrs>) => readonly number[] = () => [0],
): OpTiling<Attrs> {
  return {
    tiles: (op) => Math.ceil(columnsOf(typeAt(op.outputs, 0)) / tileColumns),
    view: () => null,
    placement: "spread",
    regions(op, lo, hi) {
      const from = lo * tileColumns;
      const to = Math.min(columnsOf(typeAt(op.outputs, 0)), hi * tileColumns);
      return {
        reads: reads(op, from, to).map(([index, a, b]) => ({
          operand: "input", index, lo: a, hi: b,
        })),
        writes: [{ operand: "output", index: 0, lo: from, hi: to }],
        states: [],
      };
    },
    tileCostBytes: () => 64,
    flags: { polls, stores: () => true },
  };
}

function tileSpan(op: OpInstance<Attrs>, lo: number, hi: number): readonly [number, number] {
  return [lo * tileColumns, Math.min(columnsOf(typeAt(op.outputs, 0)), hi * tileColumns)];
}

/** ids i32 [T], table bf16 [V, H] (resident) -> f32 [T, H]. */
export const lookup: OpSchedule<Attrs> = {
  semantics: define(
    "lookup", "Rows of a table by token id.", {},
    (_, inputs) => ({ dtype: "f32", shape: ["T", columnsOf(typeAt(inputs, 1))] }),
    (_attrs, [ids, table], ctx) => {
      const h = columnsOf((table as Tensor).type);
      const type: TensorType = { dtype: "f32", shape: ["T", h] };
      return [build(type, ctx, (row, c) => table?.data[(ids?.data[row] ?? 0) * h + c] ?? NaN)];
    },
  ),
  tiling: columnTiles(() => [[0, 0, 1]]),
  packing: { resident: () => [1], stream: () => null },
  *task(op, _layout, ctx) {
    yield;
    const [lo, hi] = tileSpan(op, ctx.tileLo, ctx.tileHi);
    const out = new Float32Array(ctx.eval.tokens * (hi - lo));
    ctx.read(0, 0, 1).forEach((id, row) => out.set(ctx.readRow(1, id, lo, hi), row * (hi - lo)));
    yield;
    ctx.write(0, lo, hi, out);
  },
};

/** Any number of [R, N], then a resident bias bf16 [N] if `bias` -> wrap(sum of i-th * (i + 1)). */
export const fold: OpSchedule<Attrs> = {
  semantics: define(
    "fold", "A weighted sum of its inputs, element by element.", { pointwise: true },
    (attrs, inputs) => ({
      dtype: attrs["out"] === "bf16" ? "bf16" : "f32", shape: typeAt(inputs, 0).shape,
    }),
    (attrs, inputs, ctx) => {
      const [out] = fold.semantics.infer(attrs, inputs.map((input) => input.type));
      return [build(out as TensorType, ctx, (row, c) => {
        const columns = columnsOf((inputs[0] as Tensor).type);
        let sum = 0;
        inputs.forEach((input, i) => {
          const at = input.data.length === columns ? c : row * columns + c;
          sum += (i + 1) * (input.data[at] ?? NaN);
        });
        return wrap(sum);
      })];
    },
  ),
  tiling: columnTiles(
    (op, lo, hi) => op.inputs.slice(0, dataInputs(op)).map((_, index) => [index, lo, hi]),
    (op) => op.inputs.slice(0, dataInputs(op)).map((_, index) => index),
  ),
  packing: {
    resident: (op) => (dataInputs(op) < op.inputs.length ? [op.inputs.length - 1] : []),
    stream: () => null,
  },
  *task(op, _layout, ctx) {
    const [lo, hi] = tileSpan(op, ctx.tileLo, ctx.tileHi);
    const rows = rowsOf(typeAt(op.outputs, 0), ctx.eval.tokens);
    const sums = new Float64Array(rows * (hi - lo));
    for (let i = 0; i < op.inputs.length; i++) {
      yield;
      const data = ctx.read(i, lo, hi);
      for (let at = 0; at < sums.length; at++) {
        sums[at] = (sums[at] ?? 0) + (i + 1) * (data[at % data.length] ?? NaN);
      }
    }
    yield;
    ctx.write(0, lo, hi, Float32Array.from(sums, wrap));
  },
};

function dataInputs(op: OpInstance<Attrs>): number {
  return op.attrs["bias"] === true ? op.inputs.length - 1 : op.inputs.length;
}

/** x [R, N] -> wrap(x + 2 * x shifted by `by` columns, circular): needs a few far producers. */
export const rotate: OpSchedule<Attrs> = {
  semantics: define(
    "rotate", "Adds columns from elsewhere in the row.", {},
    (_, inputs) => ({ dtype: "f32", shape: typeAt(inputs, 0).shape }),
    (attrs, [x], ctx) => {
      const n = columnsOf((x as Tensor).type);
      const by = numberAttr(attrs, "by");
      const type: TensorType = { dtype: "f32", shape: (x as Tensor).type.shape };
      const at = (row: number, c: number): number => x?.data[row * n + c] ?? NaN;
      return [build(type, ctx, (row, c) => wrap(at(row, c) + 2 * at(row, (c + by) % n)))];
    },
  ),
  tiling: columnTiles((op, lo, hi) => [
    [0, lo, hi],
    ...shifted(op, lo, hi).map(([a, b]): [number, number, number] => [0, a, b]),
  ]),
  packing: noStream,
  *task(op, _layout, ctx) {
    const [lo, hi] = tileSpan(op, ctx.tileLo, ctx.tileHi);
    const rows = rowsOf(typeAt(op.outputs, 0), ctx.eval.tokens);
    yield;
    const own = ctx.read(0, lo, hi);
    const parts = shifted(op, lo, hi).map(([a, b]) => ({ width: b - a, data: ctx.read(0, a, b) }));
    const out = new Float32Array(own.length);
    for (let row = 0; row < rows; row++) {
      let c = 0;
      for (const { width, data } of parts) {
        for (let i = 0; i < width; i++, c++) {
          const at = row * (hi - lo) + c;
          out[at] = wrap((own[at] ?? NaN) + 2 * (data[row * width + i] ?? NaN));
        }
      }
    }
    yield;
    ctx.write(0, lo, hi, out);
  },
};

/** The source columns of [lo, hi) shifted by `by`: one interval, or two where it wraps around. */
function shifted(op: OpInstance<Attrs>, lo: number, hi: number): readonly [number, number][] {
  const n = columnsOf(typeAt(op.outputs, 0));
  const from = (lo + numberAttr(op.attrs, "by")) % n;
  const to = from + (hi - lo);
  return to <= n ? [[from, to]] : [[from, n], [0, to - n]];
}

/** Output is columns [start, start + size), or the last row, or the same under another name. */
function view(
  name: string,
  infer: (attrs: Attrs, inputs: readonly TensorType[]) => TensorType,
  offset: (op: OpInstance<Attrs>) => { column: number; lastRow: boolean },
): OpSchedule<Attrs> {
  return {
    semantics: define(name, "A view.", { view: true }, infer, (attrs, [x], ctx) => {
      const type = infer(attrs, [(x as Tensor).type]);
      const n = columnsOf((x as Tensor).type);
      const op = { kind: name, attrs, inputs: [], outputs: [], maxTokens: ctx.tokens };
      const { column, lastRow } = offset(op);
      const first = lastRow ? (x as Tensor).data.length / n - 1 : 0;
      return [build(type, ctx, (row, c) => x?.data[(first + row) * n + column + c] ?? NaN)];
    }),
    tiling: {
      tiles: () => 0,
      view: offset,
      placement: "spread",
      regions: () => ({ reads: [], writes: [], states: [] }),
      tileCostBytes: () => 0,
      flags: null,
    },
    packing: noStream,
    // Views never become tasks.
    *task() {},
  };
}

/** x [R, N] -> [R, size]. */
export const cols = view(
  "cols",
  (attrs, inputs) => ({
    dtype: typeAt(inputs, 0).dtype,
    shape: [typeAt(inputs, 0).shape[0] ?? 1, numberAttr(attrs, "size")],
  }),
  (op) => ({ column: numberAttr(op.attrs, "start"), lastRow: false }),
);

/** x [T, N] -> [1, N]. */
export const last = view(
  "last",
  (_, inputs) => ({
    dtype: typeAt(inputs, 0).dtype, shape: [1, columnsOf(typeAt(inputs, 0))],
  }),
  () => ({ column: 0, lastRow: true }),
);
