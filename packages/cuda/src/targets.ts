/** @file GPU targets that the emitted source compiles for. */

export interface Target {
  readonly name: string;
  /** Shared memory one block may use, bytes (CUDA programming guide, compute capabilities). */
  readonly sharedBytes: number;
  /** Weights arrive by bulk copies (sm_90 and later) or by cp.async. */
  readonly bulkCopies: boolean;
}

const kib = 1024;

export const targets: readonly Target[] = [
  { name: "sm_80", sharedBytes: 163 * kib, bulkCopies: false },
  { name: "sm_86", sharedBytes: 99 * kib, bulkCopies: false },
  { name: "sm_89", sharedBytes: 99 * kib, bulkCopies: false },
  { name: "sm_90", sharedBytes: 227 * kib, bulkCopies: true },
  { name: "sm_90a", sharedBytes: 227 * kib, bulkCopies: true },
  { name: "sm_100", sharedBytes: 227 * kib, bulkCopies: true },
  { name: "sm_120", sharedBytes: 99 * kib, bulkCopies: true },
];

/** Throws `RangeError` with the known names. */
export function findTarget(name: string): Target {
  const target = targets.find((t) => t.name === name);
  if (target === undefined) {
    const names = targets.map((t) => t.name).join(", ");
    throw new RangeError(`unknown target '${name}'; choose one of ${names}`);
  }
  return target;
}
