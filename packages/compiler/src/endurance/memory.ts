/** @file Whether memory stays flat over many generations. Pure. */

/** What one look at memory saw, bytes. */
export interface MemorySample {
  /** Resident memory of this process. */
  readonly host: number;
  /** Free memory of the device; null where it has none of its own. */
  readonly deviceFree: number | null;
}

/** Bytes by which memory in use grew from the first quarter of the samples to the last. */
export interface MemoryGrowth {
  readonly host: number;
  readonly device: number;
}

/** Of the host: a garbage collector's breath. Of the device: what a driver keeps to itself. */
export const mostGrowth: MemoryGrowth = { host: 96 * 2 ** 20, device: 4 * 2 ** 20 };

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

/** Medians are compared, so that one late collection is no growth. */
export function growthOf(samples: readonly MemorySample[]): MemoryGrowth {
  const quarter = Math.ceil(samples.length / 4);
  const grew = (of: (sample: MemorySample) => number): number =>
    median(samples.slice(-quarter).map(of)) - median(samples.slice(0, quarter).map(of));
  if (samples.length === 0) return { host: 0, device: 0 };
  return { host: grew(({ host }) => host), device: grew(({ deviceFree }) => -(deviceFree ?? 0)) };
}
