/** @file linear: what it means. */
import { ShapeError, floatsOf, maxArgIndex, roundToBf16 } from "@mpk/ir";
import type { DType, Dim, Expr, OpSemantics, Precision, Tensor, TensorType } from "@mpk/ir";
import {
  attrsOf,
  expression,
  flag,
  nullable,
  oneOf,
  positive,
  variants,
} from "../../shared/attrs.ts";
import {
  applyExpr,
  extent,
  floatsAt,
  normalizeRuns,
  operand,
  resultOf,
} from "../../shared/rows.ts";
import type { ExprOperand } from "../../shared/rows.ts";
import {
  columnsOfType,
  floatActivation,
  inputAt,
  isVector,
  requireDType,
  requireFloat,
  requireVector,
  showType,
} from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

export interface LinearAttrs {
  /** Weights, each giving one product of [R, N]. */
  readonly groups: 1 | 2 | 4 | 8;
  /**
   * Of x's rows, in float32. `rms` and `layer`: before the products. `squares`: x has its gain already,
   * and another input the rows' sums of squares (`blockSquares`), which scale the products: what `rms`
   * gives, of numbers that are had once for all SMs.
   */
  readonly norm: { readonly kind: "rms" | "layer" | "squares"; readonly eps: number } | null;
  /** The cast of the (normed) x before the products. */
  readonly round: "bf16" | null;
  /** Only x's last row: the result is [1, N]. */
  readonly lastRow: boolean;
  /** Arguments 0 .. groups - 1 are the products, those after it the extras in order. */
  readonly epilogue: Expr;
  readonly out: "f32" | "bf16";
}

/** Where each role's inputs start: x is 0, weights follow it. */
export interface LinearInputs {
  readonly weights: readonly number[];
  readonly gain: number | null;
  readonly bias: number | null;
  readonly squares: number | null;
  readonly extras: readonly number[];
}

/** Which of `count` inputs plays which role. */
export function linearInputs(attrs: LinearAttrs, count: number): LinearInputs {
  const afterWeights = 1 + attrs.groups;
  const kind = attrs.norm?.kind ?? null;
  const firstExtra = afterWeights + (kind === null ? 0 : kind === "layer" ? 2 : 1);
  return {
    weights: Array.from({ length: attrs.groups }, (_, group) => 1 + group),
    gain: kind === "rms" || kind === "layer" ? afterWeights : null,
    bias: kind === "layer" ? afterWeights + 1 : null,
    squares: kind === "squares" ? afterWeights : null,
    extras: Array.from({ length: Math.max(0, count - firstExtra) }, (_, i) => firstExtra + i),
  };
}

function inferLinear(attrs: LinearAttrs, inputs: readonly TensorType[]): readonly TensorType[] {
  const roles = linearInputs(attrs, inputs.length);
  const x = inputAt(inputs, 0, "x");
  const { rows, columns: k } = floatActivation(x, "x");
  const first = inputAt(inputs, 1, "weight 0");
  const n = first.shape[0];
  for (const [group, at] of roles.weights.entries()) {
    checkWeight(inputAt(inputs, at, `weight ${group}`), group, n, k);
  }
  if (typeof n !== "number") {
    throw new ShapeError(`weight 0 must be [N, K], got ${showType(first)}`);
  }
  for (const [name, at] of [["norm's gain", roles.gain], ["norm's bias", roles.bias]] as const) {
    if (at === null) continue;
    requireVector(inputAt(inputs, at, name), k, name, "one number for each column of x");
  }
  if (roles.squares !== null) checkSquares(inputAt(inputs, roles.squares, "squares"), rows);
  const outRows = attrs.lastRow ? 1 : rows;
  for (const [i, at] of roles.extras.entries()) {
    checkExtra(inputAt(inputs, at, `extra ${i}`), `extra ${i}`, outRows, n);
  }
  const args = attrs.groups + roles.extras.length;
  if (maxArgIndex(attrs.epilogue) >= args) {
    const has = `${attrs.groups} products and ${roles.extras.length} extras`;
    throw new ShapeError(`epilogue uses argument ${maxArgIndex(attrs.epilogue)}, there are ${has}`);
  }
  return [{ dtype: attrs.out, shape: [outRows, n] }];
}

function checkSquares(squares: TensorType, rows: Dim): void {
  if (squares.dtype === "f32" && squares.shape[0] === rows && squares.shape.length === 2) return;
  const expected = `f32 [${rows}, blocks], sums of squares of x's rows`;
  throw new ShapeError(`squares must be ${expected}, got ${showType(squares)}`);
}

function checkExtra(extra: TensorType, name: string, rows: Dim, n: number): void {
  requireFloat(extra, name);
  const columns = columnsOfType(extra);
  const vector = isVector(extra) && (columns === n || columns === 1);
  if (vector || (extra.shape[0] === rows && extra.shape.length > 1 && columns === n)) return;
  const expected = `[${rows}, ${n}], [${n}] or [1] to match the product`;
  throw new ShapeError(`${name} must be ${expected}, got ${showType(extra)}`);
}

function checkWeight(
  weight: TensorType,
  group: number,
  n: Dim | undefined,
  k: number,
): void {
  const name = `weight ${group}`;
  requireDType(weight, "bf16", name);
  const [rows, columns] = weight.shape;
  if (weight.shape.length !== 2 || typeof rows !== "number" || typeof columns !== "number") {
    throw new ShapeError(`${name} must be [N, K], got ${showType(weight)}`);
  }
  if (columns !== k) {
    const hint = rows === k ? "; transpose the weight?" : "; weights are [outputs, inputs]";
    throw new ShapeError(`inner dimensions differ, x has ${k} and ${name} ${columns}${hint}`);
  }
  if (rows !== n) {
    throw new ShapeError(`weights of one linear have the same rows, ${name} has ${rows}, not ${n}`);
  }
}

/** What a linear multiplies: x's rows after the norm and the cast, [rows, K]. */
export function linearPrologue(
  attrs: LinearAttrs,
  x: Float32Array,
  k: number,
  gain: Float32Array | null,
  bias: Float32Array | null,
  precision: Precision,
): Float32Array {
  const rows = attrs.lastRow ? x.subarray(x.length - k) : x;
  const { norm } = attrs;
  const isBefore = norm !== null && norm.kind !== "squares" && gain !== null;
  const normed = isBefore
    ? normalizeRuns(rows, k, { kind: norm.kind, eps: norm.eps, gain, bias })
    : rows;
  return attrs.round === "bf16" && precision === "bf16" ? roundToBf16(normed) : normed;
}

/**
 * Scales products [rows, n] of x's rows of k columns, in place, by what `squares` [all rows, blocks] say
 * of them; the last rows where there are fewer than all.
 */
export function scaleProducts(
  { eps }: NonNullable<LinearAttrs["norm"]>,
  products: Float32Array,
  n: number,
  k: number,
  squares: { readonly data: Float32Array; readonly blocks: number },
): void {
  const { data, blocks } = squares;
  const rows = products.length / n;
  for (let row = 0; row < rows; row++) {
    const from = data.length - (rows - row) * blocks;
    let sum = 0;
    for (let i = 0; i < blocks; i++) sum += data[from + i] ?? 0;
    const scale = 1 / Math.sqrt(sum / k + eps);
    for (let i = row * n; i < (row + 1) * n; i++) products[i] = (products[i] ?? 0) * scale;
  }
}

/**
 * x [rows, k] times the transpose of w [n, k] → [rows, n]. Sums in float64, in a fixed order.
 */
export function multiply(x: Float32Array, w: Float32Array, n: number, k: number): Float32Array {
  const rows = x.length / k;
  const out = new Float32Array(rows * n);
  const even = k - (k % 4);
  for (let j = 0; j < n; j++) {
    const wAt = j * k;
    for (let row = 0; row < rows; row++) {
      const xAt = row * k;
      // Four sums, so that the processor need not wait for each addition.
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      for (let i = 0; i < even; i += 4) {
        a += (x[xAt + i] ?? 0) * (w[wAt + i] ?? 0);
        b += (x[xAt + i + 1] ?? 0) * (w[wAt + i + 1] ?? 0);
        c += (x[xAt + i + 2] ?? 0) * (w[wAt + i + 2] ?? 0);
        d += (x[xAt + i + 3] ?? 0) * (w[wAt + i + 3] ?? 0);
      }
      for (let i = even; i < k; i++) a += (x[xAt + i] ?? 0) * (w[wAt + i] ?? 0);
      out[row * n + j] = a + b + (c + d);
    }
  }
  return out;
}

/**
 * x [R, K], weights [N, K], the norm's parameters, extras → [R or 1, N]: the epilogue over the
 * products round(norm(x)) · weightᵀ of each group and the extras.
 */
export const semantics: OpSemantics<LinearAttrs> = {
  name: "linear",
  summary: "Multiplies rows by transposed weights, with a norm before and an expression after.",
  traits: traits("contraction"),
  parseAttrs: attrsOf({
    groups: oneOf(1, 2, 4, 8),
    norm: nullable(variants({
      rms: { eps: positive }, layer: { eps: positive }, squares: { eps: positive },
    })),
    round: nullable(oneOf("bf16")),
    lastRow: flag,
    epilogue: expression,
    out: oneOf<DType & ("f32" | "bf16")>("f32", "bf16"),
  }),
  infer: inferLinear,
  evaluate(attrs, inputs, ctx) {
    const roles = linearInputs(attrs, inputs.length);
    const k = extent(inputAt(inputs, 0, "x")).columns;
    const n = inputAt(inputs, 1, "weight 0").shape[0] ?? 0;
    const vector = (at: number | null): Float32Array | null =>
      at === null ? null : floatsAt(inputs, at);
    const [gain, bias] = [vector(roles.gain), vector(roles.bias)];
    const x = linearPrologue(attrs, floatsAt(inputs, 0), k, gain, bias, ctx.precision);
    const products = roles.weights.map((at) => {
      const products = multiply(x, floatsAt(inputs, at), n, k);
      if (roles.squares !== null && attrs.norm !== null) {
        const { columns: blocks } = extent(inputAt(inputs, roles.squares, "squares"));
        scaleProducts(attrs.norm, products, n, k, { data: floatsAt(inputs, roles.squares), blocks });
      }
      return operand(products, false, false, n);
    });
    const extras = roles.extras.map((at) => extraOperand(inputAt(inputs, at, "extra"), n));
    const args = [...products, ...extras];
    const data = applyExpr(attrs.epilogue, args, x.length / k, n, ctx.precision);
    return resultOf(semantics, attrs, inputs, ctx, data);
  },
};

function extraOperand(extra: Tensor, columns: number): ExprOperand {
  const scalar = extent(extra).columns !== columns;
  return operand(floatsOf(extra), isVector(extra.type), scalar, columns);
}
