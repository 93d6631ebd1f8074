/** @file What the simulator must know of a GPU beyond the Machine: times in nanoseconds. Pure data. */

/** Where a number comes from: a GPU of that kind, its data sheet, or a guess that says so. */
export const sources = ["measured", "published", "estimated"] as const;
export type ConstantsSource = (typeof sources)[number];

/** Costs on one SM, nanoseconds; rates in bytes per nanosecond and SM. */
export interface SimulationConstants {
  /** Of the machine's read bandwidth, what streams get beside all else that a step does: 0 to 1. */
  readonly streamShare: number;
  /** Products of one warp with a full stage that it has in registers. */
  readonly chunkNanos: number;
  /** A full stage on its way from shared memory to registers: one warp's after another's, of all of an SM. */
  readonly stageNanos: number;
  /** From the issue of a copy to its arrival, memory idle. */
  readonly copyLatencyNanos: number;
  /** From an event's last signal until a waiting SM may go on. */
  readonly handOffNanos: number;
  /** More for each signal of the event: they add to one word, one after another. */
  readonly signalNanos: number;
  /** From the store of a flagged value's last word until a polling SM has it. */
  readonly flagNanos: number;
  /** More of both for the SM that sees last what others hand over than for the one that sees it first. */
  readonly handOffSpreadNanos: number;
  /** More of `copyLatencyNanos` for the SM that waits longest for its copies than for the first. */
  readonly copySpreadNanos: number;
  /** From a copy of a full stage of keys and values to the next one of an SM, where the cache is copied. */
  readonly stateCopyNanos: number;
  /** Of every task, before its first product: barriers, norms, loads that depend on each other. */
  readonly prologueNanos: number;
  /** Of every task, after its last product: the sum over warps, stores, the barrier before signals. */
  readonly epilogueNanos: number;
  /** More for a task that reads a state: attention's chain of dependent stages. */
  readonly stateNanos: number;
  /** More for the task that chooses the token: the host is told, the next step described. */
  readonly stepNanos: number;
  /** Activations that other SMs wrote. */
  readonly activationBytesPerNano: number;
  /** Rows of a state, and copies that arrive meanwhile. */
  readonly stateBytesPerNano: number;
}

/**
 * H200, fitted to step times of four models measured on one, with flags, and to the ops of four profiles:
 * `bench/measured.json` lists them, docs/performance.md how far off others are. `stepNanos` is from a
 * profile.
 */
export const h200Constants: SimulationConstants = Object.freeze({
  streamShare: 1,
  copyLatencyNanos: 908.8,
  handOffNanos: 1237,
  signalNanos: 5.4,
  flagNanos: 333.3,
  handOffSpreadNanos: 106.5,
  copySpreadNanos: 190.3,
  stateCopyNanos: 350,
  prologueNanos: 376.8,
  epilogueNanos: 411.6,
  stateNanos: 745.2,
  stepNanos: 1800,
  activationBytesPerNano: 28,
  stateBytesPerNano: 40.21,
  chunkNanos: 200,
  stageNanos: 70.15,
});

/**
 * Where an SM is between the first (0) and the last (1) to have what comes from memory. Profiles show that
 * it is the same SMs in every step, in no order of their numbers: steps of the golden ratio spread any few
 * neighbours evenly.
 */
export const farness = (sm: number): number => ((sm + 1) * 0.618_033_988_749_895) % 1;

export const costNames = Object.keys(h200Constants) as readonly (keyof SimulationConstants)[];
