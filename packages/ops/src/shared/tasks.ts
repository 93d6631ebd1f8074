/** @file What task bodies share. */
import { castData } from "@mpk/ir";
import type { OpInstance, TaskBody, TaskContext } from "@mpk/schedule";
import { inFormat } from "./rows.ts";
import { inputAt } from "./shapes.ts";
import type { Interval } from "./tiles.ts";
import { outputColumns, tileInterval } from "./tiles.ts";

/** Columns of an input as float32. Throws `TypeError` where the buffer holds integers. */
export function readFloats(ctx: TaskContext, input: number, { lo, hi }: Interval): Float32Array {
  const data = ctx.read(input, lo, hi);
  if (data instanceof Float32Array) return data;
  throw new TypeError(`input ${input} holds integers, the task needs floating-point numbers`);
}

/** Column 0 of an input as integers: ids or positions. Throws `TypeError` where it holds floats. */
export function readInts(ctx: TaskContext, input: number): Int32Array {
  const data = ctx.read(input, 0, 1);
  if (data instanceof Int32Array) return data;
  throw new TypeError(`input ${input} holds floating-point numbers, the task needs integers`);
}

/** Writes columns of output 0 in its format. */
export function writeResult(
  op: OpInstance,
  ctx: TaskContext,
  { lo, hi }: Interval,
  data: Float32Array,
): void {
  const { dtype } = inputAt(op.outputs, 0, "result");
  const { precision } = ctx.eval;
  const convert = dtype === "i32" ? castData : inFormat;
  ctx.write(0, lo, hi, convert(data, dtype, precision));
}

/** A vector of weights, whole. */
export const readVector = (ctx: TaskContext, input: number, length: number): Float32Array =>
  readFloats(ctx, input, { lo: 0, hi: length });

/**
 * The body of an op whose tiles are runs of `width` output columns: `compute` gives the columns of
 * the task's tiles in float32.
 */
export function columnTask<A>(
  width: (op: OpInstance<A>) => number,
  compute: (
    op: OpInstance<A>,
    ctx: TaskContext,
    columns: Interval,
  ) => Generator<void, Float32Array, void>,
): TaskBody<A> {
  return function* columnTaskBody(op, _layout, ctx) {
    const columns = tileInterval(outputColumns(op), width(op), ctx.tileLo, ctx.tileHi);
    const data = yield* compute(op, ctx, columns);
    yield;
    writeResult(op, ctx, columns, data);
  };
}
