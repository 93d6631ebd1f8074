/** @file Keeps toy values small integers, exact in bf16, so that results compare bitwise. */

/** An integer in [-15, 15], spread by remainder. NaN stays NaN: poison must not vanish. */
export function wrap(x: number): number {
  const r = Math.round(x) % 31;
  return r < -15 ? r + 31 : r > 15 ? r - 31 : r + 0;
}
