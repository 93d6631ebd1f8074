/** @file What the simulator must know of a GPU beyond the Machine: times in nanoseconds. Pure data. */

/** Where a number comes from: a GPU of that kind, its data sheet, or a guess that says so. */
export type ConstantsSource = "measured" | "published" | "estimated";

/** Costs on one SM, nanoseconds; rates in bytes per nanosecond and SM. */
export interface SimulationConstants {
  readonly name: string;
  readonly source: ConstantsSource;
  /** Products of one warp with a full stage: shared memory and tensor cores only. */
  readonly chunkNanos: number;
  /** From the issue of a copy to its arrival, memory idle. */
  readonly copyLatencyNanos: number;
  /** From an event's last signal until a waiting SM may go on. */
  readonly handOffNanos: number;
  /** More for each signal of the event: they add to one word, one after another. */
  readonly signalNanos: number;
  /** From the store of a flagged value's last word until a polling SM has it. */
  readonly flagNanos: number;
  /** Of every task, before its first product: barriers, norms, loads that depend on each other. */
  readonly prologueNanos: number;
  /** Of every task, after its last product: the sum over warps, stores, the barrier before signals. */
  readonly epilogueNanos: number;
  /** More for a task that reads a state: attention's chain of dependent stages. */
  readonly stateNanos: number;
  /** Activations that other SMs wrote. */
  readonly activationBytesPerNano: number;
  /** Rows of a state. */
  readonly stateBytesPerNano: number;
}

/**
 * H200, fitted to step times measured on one: 4.0 M-parameter Llama 0.074 ms (0.075 simulated),
 * Qwen3-0.6B 0.666 (0.655), Llama-3.2-1B 0.722 (0.731) and with a ring of 128 KiB 0.752 (0.785),
 * Qwen3-8B 3.766 (3.736). Sums are fitted, not each constant: only a profile can tell them apart;
 * and no flagged edge was measured yet.
 */
export const h200Constants: SimulationConstants = Object.freeze({
  name: "h200",
  source: "estimated",
  copyLatencyNanos: 747,
  handOffNanos: 377,
  signalNanos: 5.4,
  flagNanos: 377,
  prologueNanos: 347,
  epilogueNanos: 241,
  stateNanos: 931,
  activationBytesPerNano: 27,
  stateBytesPerNano: 50,
  chunkNanos: 1692,
});
