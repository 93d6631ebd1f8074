/** @file The point where errors have the least squares, from few looks at them. Pure but for its time. */

type Point = readonly number[];
interface Looked {
  readonly point: Point;
  readonly errors: Point;
  readonly value: number;
}

/** How far a coordinate moves to see what errors do: simulations are steps under a closer look. */
const nudge = 0.3;
/** A round that gains less than this share is the last. */
const leastGain = 0.005;
const mostTries = 5;

/** The solution of `matrix` x = `right`, by elimination; `matrix` is positive definite. */
function solve(matrix: readonly Point[], right: Point): Point {
  const rows = matrix.map((row, i) => [...row, right[i] ?? 0]);
  const size = rows.length;
  rows.forEach((row, i) => {
    const pivot = row[i] ?? 1;
    for (const below of rows.slice(i + 1)) {
      const factor = (below[i] ?? 0) / pivot;
      for (let k = i; k <= size; k++) below[k] = (below[k] ?? 0) - factor * (row[k] ?? 0);
    }
  });
  const x = right.map(() => 0);
  for (let i = size - 1; i >= 0; i--) {
    const row = rows[i] ?? [];
    const rest = x.reduce((sum, each, k) => k > i ? sum + each * (row[k] ?? 0) : sum, 0);
    x[i] = ((row[size] ?? 0) - rest) / (row[i] ?? 1);
  }
  return x;
}

const dot = (a: Point, b: Point): number => a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0);

/**
 * The best point near the origin, after Levenberg (1944) and Marquardt (1963), slopes by differences; over
 * when time is, or when a round gains next to nothing. `hasTime` is asked before each look.
 */
export function leastSquares(
  errorsOf: (point: Point) => Point, dimensions: number, hasTime: () => boolean,
): Point {
  const look = (point: Point): Looked => {
    const errors = errorsOf(point);
    return { point, errors, value: dot(errors, errors) };
  };
  const origin: Point = Array.from({ length: dimensions }, () => 0);
  if (!hasTime()) return origin;
  let best = look(origin);
  let caution = 0.01;
  for (;;) {
    const from = best;
    const slopes: Point[] = [];
    for (let i = 0; i < dimensions; i++) {
      if (!hasTime()) return best.point;
      const { errors } = look(from.point.with(i, (from.point[i] ?? 0) + nudge));
      slopes.push(errors.map((error, k) => (error - (from.errors[k] ?? 0)) / nudge));
    }
    const squares = slopes.map((a) => slopes.map((b) => dot(a, b)));
    const down = slopes.map((slope) => -dot(slope, from.errors));
    for (let tries = 0; tries < mostTries && best === from; tries++) {
      if (!hasTime()) return best.point;
      const damped = squares.map((row, i) => row.with(i, (row[i] ?? 0) * (1 + caution) + 1e-9));
      const step = solve(damped, down);
      const next = look(from.point.map((x, i) => x + (step[i] ?? 0)));
      caution *= next.value < from.value ? 0.3 : 6;
      if (next.value < from.value) best = next;
    }
    if (best.value >= (1 - leastGain) * from.value) return best.point;
  }
}
