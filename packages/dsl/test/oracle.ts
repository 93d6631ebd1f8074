/** @file What the DSL's methods mean, on plain matrices in float64: nothing of ours is used. */

export type Matrix = readonly (readonly number[])[];

const rowwise = (f: (row: readonly number[]) => number[]) => (x: Matrix): Matrix => x.map(f);
const mean = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length;

/** `f` on each run of `width` columns. */
const runs = (width: number, f: (run: readonly number[]) => number[]) =>
  rowwise((row) => Array.from({ length: row.length / width }, (_, i) =>
    f(row.slice(i * width, (i + 1) * width))).flat());

/** The error function by Simpson's rule over its integral. */
function erf(x: number): number {
  const steps = 400;
  const h = x / steps;
  let sum = 0;
  for (let i = 0; i <= steps; i++) {
    sum += Math.exp(-((i * h) ** 2)) * (i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2);
  }
  return (2 / Math.sqrt(Math.PI)) * (h / 3) * sum;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** Elementwise functions of one number. */
export const scalar = {
  silu: (x: number) => x * sigmoid(x),
  gelu: (x: number) => (x / 2) * (1 + erf(x / Math.SQRT2)),
  geluTanh: (x: number) =>
    (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  relu: (x: number) => (x > 0 ? x : 0),
  sigmoid,
  tanh: Math.tanh,
} as const;

export const unary = (f: (x: number) => number) => rowwise((row) => row.map((v) => f(v)));

/** Elementwise on two matrices; a matrix of one row, or of one number, serves all. */
export const binary = (f: (a: number, b: number) => number) => (x: Matrix, y: Matrix): Matrix =>
  x.map((row, r) => {
    const other = y[y.length === 1 ? 0 : r]!;
    return row.map((v, c) => f(v, other[other.length === 1 ? 0 : c]!));
  });

/** x [R, K] times w [N, K] transposed. */
export const matmul = (x: Matrix, w: Matrix): Matrix =>
  x.map((row) => w.map((weights) => row.reduce((sum, v, k) => sum + v * weights[k]!, 0)));

export const rmsNorm = (x: Matrix, gain: readonly number[], eps: number): Matrix =>
  runs(gain.length, (run) => {
    const scale = 1 / Math.sqrt(mean(run.map((v) => v * v)) + eps);
    return run.map((v, i) => v * scale * gain[i]!);
  })(x);

export const layerNorm = (
  x: Matrix, gain: readonly number[], bias: readonly number[], eps: number,
): Matrix =>
  runs(gain.length, (run) => {
    const centre = mean(run);
    const scale = 1 / Math.sqrt(mean(run.map((v) => (v - centre) ** 2)) + eps);
    return run.map((v, i) => (v - centre) * scale * gain[i]! + bias[i]!);
  })(x);

export const softmax = (x: Matrix, width: number): Matrix =>
  runs(width, (run) => {
    const powers = run.map((v) => Math.exp(v - Math.max(...run)));
    return powers.map((p) => p / (mean(powers) * run.length));
  })(x);

export const columns = (x: Matrix, start: number, size: number): Matrix =>
  x.map((row) => row.slice(start, start + size));

export const beside = (x: Matrix, y: Matrix): Matrix => x.map((row, r) => [...row, ...y[r]!]);
