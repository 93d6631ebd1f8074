/** @file GPU targets that the emitted source compiles for. */

/** A kind of GPU that kernels are emitted for. */
export interface Target {
  readonly name: string;
  /** Shared memory one block may use, bytes (CUDA programming guide, compute capabilities). */
  readonly sharedBytes: number;
  /** Weights arrive by bulk copies (sm_90 and later) or by cp.async. */
  readonly bulkCopies: boolean;
  /** Warps of a block may hand registers to others while it runs (setmaxnreg, PTX ISA). */
  readonly tradesRegisters?: boolean;
}

const kib = 1024;

/** Every target, the oldest first. */
export const targets: readonly Target[] = [
  { name: "sm_80", sharedBytes: 163 * kib, bulkCopies: false },
  { name: "sm_86", sharedBytes: 99 * kib, bulkCopies: false },
  { name: "sm_89", sharedBytes: 99 * kib, bulkCopies: false },
  { name: "sm_90", sharedBytes: 227 * kib, bulkCopies: true },
  { name: "sm_90a", sharedBytes: 227 * kib, bulkCopies: true, tradesRegisters: true },
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

/** Of an SM, 32 bits each; a thread's come in eights. */
const registersOfSm = 65536;
/** What the producer's code needs, with some to spare. */
const producerRegisters = 40;

export interface Warps {
  /** Threads of a block: whole groups of four warps where registers are traded. */
  readonly threads: number;
  /** Of a thread that consumes, and of one that does not; 0: what the compiler gives all. */
  readonly consumerRegisters: number;
  readonly producerRegisters: number;
}

/** A block's threads: the consumers', then the producer's warp. */
export function warpsOf(target: Target, consumerWarps: number): Warps {
  const trades = target.tradesRegisters === true && consumerWarps % 4 === 0;
  if (!trades) {
    return { threads: (consumerWarps + 1) * 32, consumerRegisters: 0, producerRegisters: 0 };
  }
  const rest = registersOfSm - 128 * producerRegisters;
  const most = Math.floor(rest / (consumerWarps * 32) / 8) * 8;
  // More than 255 no instruction can name.
  const consumerRegisters = Math.min(240, most);
  return { threads: (consumerWarps + 4) * 32, consumerRegisters, producerRegisters };
}
