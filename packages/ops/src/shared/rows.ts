/** @file What reference results share: tensors as rows, broadcasting and row norms. Pure. */
import {
  castData, columnsOf, compileExpr, floatsOf, NoTokenError, noToken, tensorOf,
} from "@mpk/ir";
import type { DType, EvalContext, Expr, OpSemantics, Precision, Tensor } from "@mpk/ir";

/** Concrete rows and columns of a tensor, by the rule of `matrixOf`. */
export function extent(tensor: Tensor): { readonly rows: number; readonly columns: number } {
  const { shape, type } = tensor;
  if (shape.length === 1 && type.shape[0] !== "T") return { rows: 1, columns: shape[0] ?? 1 };
  return { rows: shape[0] ?? 1, columns: columnsOf(shape) };
}

/**
 * An op's one result from its data, typed and checked by the op's shape rule. float32 data of a
 * bf16 result is rounded where the run's precision asks for it.
 */
export function resultOf<A>(
  semantics: Pick<OpSemantics<A>, "infer">,
  attrs: A,
  inputs: readonly Tensor[],
  ctx: EvalContext,
  data: Float32Array | Int32Array,
): readonly Tensor[] {
  return semantics.infer(attrs, inputs.map((input) => input.type)).map((type) => {
    const floats = data instanceof Float32Array;
    const own = floats ? inFormat(data, type.dtype, ctx.precision) : data;
    return tensorOf(type, ctx.tokens, own);
  });
}

/** Float data of a result in its format: bf16 is rounded where the run's precision asks for it. */
export function inFormat(data: Float32Array, dtype: DType, precision: Precision): Tensor["data"] {
  return dtype === "f32" ? data : castData(data, dtype, precision);
}

/** An operand of an expression: its values and how far apart the elements of one column are. */
export interface ExprOperand {
  readonly data: Float32Array | Int32Array;
  /** Distance between rows: 0 where one row serves all. */
  readonly rowStride: number;
  /** Distance between columns: 0 for a scalar. */
  readonly columnStride: number;
}

/**
 * An operand of `columns` columns: every row its own, or one row for all if `vector`, or one number
 * for all if also `scalar`; a scalar column serves every column of its row.
 */
export function operand(
  data: ExprOperand["data"],
  vector: boolean,
  scalar: boolean,
  columns: number,
): ExprOperand {
  const width = scalar ? 1 : columns;
  return { data, rowStride: vector ? 0 : width, columnStride: scalar ? 0 : 1 };
}

/** An expression over [rows, columns] elements of its operands: float32 [rows, columns]. */
export function applyExpr(
  expr: Expr,
  operands: readonly ExprOperand[],
  rows: number,
  columns: number,
  precision: Precision,
): Float32Array {
  const f = compileExpr(expr, precision);
  const args = new Float32Array(operands.length);
  const out = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      for (let i = 0; i < operands.length; i++) {
        const source = operands[i];
        if (source === undefined) continue;
        args[i] = source.data[row * source.rowStride + column * source.columnStride] ?? Number.NaN;
      }
      out[row * columns + column] = f(args);
    }
  }
  return out;
}

/** The statistics and parameters of a row norm. */
export interface RowNorm {
  readonly kind: "rms" | "layer";
  readonly eps: number;
  /** [width]. */
  readonly gain: Float32Array;
  /** [width], for a layer norm. */
  readonly bias: Float32Array | null;
}

/**
 * Normalizes `width` numbers from `start` on, in float32 with float64 sums:
 * rms: x / sqrt(mean(x²) + eps) · gain (Zhang & Sennrich 2019);
 * layer: (x - mean) / sqrt(var + eps) · gain + bias (Ba et al. 2016; the biased variance).
 */
export function normalizeRun(
  x: Float32Array,
  start: number,
  width: number,
  norm: RowNorm,
  out: Float32Array,
): void {
  let mean = 0;
  if (norm.kind === "layer") {
    for (let i = 0; i < width; i++) mean += x[start + i] ?? 0;
    mean = Math.fround(mean / width);
  }
  let squares = 0;
  for (let i = 0; i < width; i++) {
    const d = Math.fround((x[start + i] ?? 0) - mean);
    squares += d * d;
  }
  const inverse = Math.fround(1 / Math.sqrt(Math.fround(squares / width) + norm.eps));
  const { gain, bias } = norm;
  for (let i = 0; i < width; i++) {
    const unit = Math.fround(Math.fround((x[start + i] ?? 0) - mean) * inverse);
    const scaled = Math.fround(unit * (gain[i] ?? 0));
    out[start + i] = bias === null ? scaled : scaled + (bias[i] ?? 0);
  }
}

/** Normalizes each run of `width` columns of a tensor; see `normalizeRun`. */
export function normalizeRuns(x: Float32Array, width: number, norm: RowNorm): Float32Array {
  const out = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += width) normalizeRun(x, start, width, norm, out);
  return out;
}

/** Softmax of `width` numbers from `start` on: float32 exponentials, their sum in float64. */
export function softmaxRun(x: Float32Array, start: number, width: number, out: Float32Array): void {
  let max = -Infinity;
  for (let i = 0; i < width; i++) max = Math.max(max, x[start + i] ?? 0);
  let sum = 0;
  for (let i = 0; i < width; i++) {
    const e = Math.fround(Math.exp(Math.fround((x[start + i] ?? 0) - max)));
    out[start + i] = e;
    sum += e;
  }
  const total = Math.fround(sum);
  for (let i = 0; i < width; i++) out[start + i] = (out[start + i] ?? 0) / total;
}

/** Float data of input `index`. */
export function floatsAt(inputs: readonly Tensor[], index: number): Float32Array {
  const tensor = inputs[index];
  if (tensor === undefined) throw new RangeError(`input ${index} is missing`);
  return floatsOf(tensor);
}

/**
 * The column of the maximum of each row of `columns`; see `argmaxRun`. Throws `NoTokenError` for a
 * row of nothing but NaN.
 */
export function argmaxRows(x: Float32Array, columns: number): Int32Array {
  return Int32Array.from({ length: x.length / columns }, (_, row) => {
    const best = argmaxRun(x, row * columns, (row + 1) * columns);
    if (best === noToken) throw new NoTokenError();
    return best - row * columns;
  });
}

/**
 * The place of the maximum of x[lo, hi), the lowest among equals. NaN never wins; `noToken` where
 * there is nothing else.
 */
export function argmaxRun(x: Float32Array, lo: number, hi: number): number {
  let best = noToken;
  let max = -Infinity;
  for (let i = lo; i < hi; i++) {
    const value = x[i] ?? Number.NaN;
    if (value > max || (value === max && best === noToken)) {
      best = i;
      max = value;
    }
  }
  return best;
}
