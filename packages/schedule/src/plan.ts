/** @file The Plan: tasks on SMs, edges with their protocol, streams and buffers. Plain data. */
import type { Program } from "@mpk/ir";
import type { StreamLayout } from "./contracts.ts";

/** What a Plan is made for. Everything in bytes. */
export interface Machine {
  readonly name: string;
  readonly sms: number;
  /** Shared memory one block may use. */
  readonly sharedBytes: number;
  readonly memoryBytes: number;
  /** Measured read bandwidth, for floors. */
  readonly readBytesPerSecond: number;
  readonly l2Bytes: number;
}

/** The shared-memory budget and the ring of one SM. */
export interface RingSpec {
  readonly stages: number;
  readonly stageBytes: number;
  readonly consumerWarps: number;
  /** The producer keeps at most this many chunks in flight. */
  readonly maxInFlight: number;
  readonly activationBytes: number;
  readonly partialBytes: number;
}

/** Tasks as typed arrays, one entry a task. Task ids are positions here, grouped by op. */
export interface TaskTable {
  readonly count: number;
  /** Index in `program.ops`. */
  readonly op: Int32Array;
  readonly sm: Int32Array;
  readonly tileLo: Int32Array;
  readonly tileHi: Int32Array;
}

/** Lists of ids by owner: those of owner i are `items[start[i]] .. items[start[i + 1] - 1]`. */
export interface IdLists {
  readonly start: Int32Array;
  readonly items: Int32Array;
}

/**
 * A counter in global memory. Each producer task adds one (release, GPU scope); a consumer waits
 * (acquire) until the count since launch reaches `threshold` times the epoch: step + 1 for an
 * edge within a step, step for one that crosses into the next.
 *
 * A many-only event is triggered and awaited in steps of several tokens alone, and counts those.
 */
export interface EventTable {
  readonly count: number;
  readonly threshold: Int32Array;
  /** Rank whose memory holds the counter. */
  readonly homeRank: Int32Array;
  /** 1: consumers wait for the previous step's triggers (the first step does not wait). */
  readonly crossStep: Uint8Array;
  /** 1: in steps of one token it is neither triggered nor awaited. Never with `crossStep`. */
  readonly manyOnly: Uint8Array;
}

/**
 * Values that one-token steps hand over word by word: a reader polls each 32-bit word until it
 * differs from 0xffffffff. One row each, in two copies that take turns over the one-token steps of
 * a launch; whoever writes a word clears it in the other copy. Steps of several tokens use the
 * value's ordinary placement and events. See docs/adr/0006-flag-in-data.md.
 */
export interface FlagTable {
  /** Value ids, ascending. */
  readonly value: Int32Array;
  /** Where each value's row starts in a copy, bytes. */
  readonly offsetBytes: Int32Array;
  /** Copy i is at [startBytes + i * copyBytes, + copyBytes) of the scratch arena. */
  readonly startBytes: number;
  readonly copyBytes: number;
}

/** A part of one SM's stream: the chunks of one task, contiguous in the packed image. */
export interface StreamSegment {
  readonly task: number;
  /** From the start of this SM's stream. */
  readonly offsetBytes: number;
  readonly chunks: number;
  readonly chunkBytes: number;
}

/** Bytes of segments, such as all that an SM streams in a step. */
export const segmentBytes = (segments: readonly StreamSegment[]): number =>
  segments.reduce((sum, { chunks, chunkBytes }) => sum + chunks * chunkBytes, 0);

/** A value's place in the scratch arena, or the value it is a view of. */
export type Placement =
  | { readonly kind: "scratch"; readonly offsetBytes: number; readonly bytes: number }
  /** Columns [column, column + own columns) of another value's rows. */
  | {
      readonly kind: "view";
      readonly of: number;
      readonly column: number;
      readonly lastRow: boolean;
    }
  | { readonly kind: "weight" }
  | { readonly kind: "state" }
  /** Lives in the step descriptor. */
  | { readonly kind: "step" };

/** Which SM does what, in which order, waiting for what: all that the emitter needs. */
export interface Plan {
  readonly format: "mpk-plan";
  readonly version: 1;
  /** After all passes. */
  readonly program: Program;
  readonly machine: Machine;
  /**
   * Alike GPUs. `machine.sms` counts the SMs of all of them, rank by rank: those of rank r are
   * r * sms / ranks and on; so are arenas in the scratch bytes. All else of `machine` is of one.
   */
  readonly ranks: number;
  readonly ring: RingSpec;
  readonly tasks: TaskTable;
  /** Per SM, its tasks in execution order. */
  readonly order: IdLists;
  /**
   * Per task, the events waited for before it reads, in this order. The cross-step events that
   * lead the list of an SM's first task open the step: once they are over, and before any other
   * wait, the SM reads the step descriptor, and leaves if it says stop.
   */
  readonly waits: IdLists;
  /** Per task, the events triggered once its writes are done. */
  readonly signals: IdLists;
  readonly events: EventTable;
  /** Producer-consumer pairs before fusion into shared counters; for reports. */
  readonly edgesBeforeFusion: number;
  /** By op index; null where the op streams nothing. */
  readonly layouts: readonly (StreamLayout | null)[];
  /** Per SM. The same sequence is streamed each step. */
  readonly streams: readonly (readonly StreamSegment[])[];
  /** By value id. */
  readonly placements: readonly Placement[];
  readonly scratchBytes: number;
  readonly flags: FlagTable;
  /** KV pages: positions per page, and pages for `maxContext`. */
  readonly pageTokens: number;
  readonly pages: number;
}
