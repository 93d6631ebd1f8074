/** @file Chooses the ring and the shared-memory budget of one SM. Pure. */
import type { OpInstance, PackingBudget, StreamLayout } from "../contracts.ts";
import { PlanError } from "../errors.ts";
import { chunkBytesOf } from "../packing.ts";
import type { Machine, RingSpec } from "../plan.ts";
import type { OpClass } from "./nodes.ts";
import { roundUp } from "./shapes.ts";

/** Eight warps fill an SM's four tensor-core partitions twice. */
const defaultWarps = 8;
/** 8 KiB chunks were measured faster than 4 KiB and equal to 16 KiB. */
const defaultStageBytes = 8192;
/** Barriers, the step descriptor and reduction scratch of the kernel. */
export const sharedReserveBytes = 4096;
/** Beyond 24 stages (192 KiB) nothing was measured to be gained. */
const mostStages = 24;
/** 40 KiB in flight read at 97.5 % of the bandwidth and keep hand-offs fast. */
const defaultInFlight = 5;
/** More tiles share one pass over a sliced activation; beyond four the gain is small. */
const mostPartialTiles = 4;
/** Rows of one tile, those of mma.m16n8k16. */
const tileRows = 16;

export interface RingOptions {
  /** Warps per SM that consume chunks; default 8. */
  readonly consumerWarps?: number;
  /** Bytes of a stage, the largest chunk; default 8192. */
  readonly stageBytes?: number;
  /** Exactly this many; by default as many as fit, up to 24. */
  readonly stages?: number;
  /** Chunks the producer keeps in flight; default 5 (40 KiB). */
  readonly maxInFlight?: number;
  /** Shared memory left to the kernel's own use; default 4096. */
  readonly reserveBytes?: number;
}

/** Shared memory for one token's activations of `k` columns, bf16, with room for alignment. */
function activationBytesFor(k: number, tokens: number): number {
  return roundUp(tokens * (2 * k + 64), 64);
}

/** The longest contraction of a program, found by asking packings with an unlimited budget. */
export function longestK(classes: Iterable<OpClass>): number {
  const budget: PackingBudget = {
    activationBytes: 2 ** 30, partialBytes: 2 ** 30, chunkBytes: defaultStageBytes,
    consumerWarps: defaultWarps,
  };
  let longest = 0;
  for (const { schedule, instance } of classes) {
    const layout = schedule.packing.stream(instance, budget);
    if (layout !== null) longest = Math.max(longest, layout.k);
  }
  return longest;
}

/**
 * The largest ring (at most 24 stages) beside which one token's longest activation and one
 * tile's partial sums fit twice; then as many tiles of partial sums as still fit, up to four;
 * then activations, up to all tokens'. If no ring leaves room for one token's longest activation,
 * the smallest ring with whatever is left: activations then pass in K slices even for one token.
 * Throws `PlanError` when not even that leaves room for 64 columns a token.
 */
export function chooseRing(
  machine: Machine,
  maxTokens: number,
  longest: number,
  options: RingOptions = {},
): RingSpec {
  const reserve = options.reserveBytes ?? sharedReserveBytes;
  const { consumerWarps = defaultWarps, stageBytes = defaultStageBytes } = options;
  const maxInFlight = options.maxInFlight ?? defaultInFlight;
  const tileBytes = consumerWarps * tileRows * maxTokens * 4;
  const least = activationBytesFor(longest, 1);
  const most = activationBytesFor(longest, maxTokens);
  const fits = Math.floor((machine.sharedBytes - reserve) / stageBytes);
  const largest = Math.floor(Math.min(fits, mostStages) / consumerWarps) * consumerWarps;
  const smallest = Math.ceil((maxInFlight + 1) / consumerWarps) * consumerWarps;
  const from = options.stages ?? largest;
  const to = options.stages ?? smallest;
  const spec = (stages: number, activationBytes: number, tiles: number): RingSpec => ({
    stages, stageBytes, consumerWarps, maxInFlight, activationBytes,
    partialBytes: tiles * tileBytes,
  });
  const roomAt = (stages: number, tiles: number): number =>
    Math.floor((machine.sharedBytes - reserve - stages * stageBytes - 2 * tiles * tileBytes) / 64) *
    64;
  for (let stages = from; stages >= to; stages -= consumerWarps) {
    for (let tiles = mostPartialTiles; tiles >= 1; tiles--) {
      const room = roomAt(stages, tiles);
      if (room >= least) return spec(stages, Math.min(room, most), tiles);
    }
  }
  const room = roomAt(to, 1);
  if (room < activationBytesFor(64, maxTokens)) {
    throw new PlanError(
      `machine ${machine.name}: ${machine.sharedBytes} bytes of shared memory per SM hold no ring ` +
        `of ${to} stages of ${stageBytes} bytes beside activations of ${maxTokens} tokens; ` +
        `lower maxTokens`,
    );
  }
  return spec(to, room, 1);
}

/** A class's stream layout under a ring. Throws `PlanError` when a chunk exceeds a stage. */
export function layoutOf(cls: OpClass, ring: RingSpec): StreamLayout | null {
  const { activationBytes, partialBytes } = ring;
  const layout = cls.schedule.packing.stream(cls.instance, {
    activationBytes, partialBytes, chunkBytes: ring.stageBytes, consumerWarps: ring.consumerWarps,
  });
  if (layout !== null && chunkBytesOf(layout) > ring.stageBytes) {
    throw new PlanError(
      `${(cls.instance as OpInstance).kind}: packs chunks of ${chunkBytesOf(layout)} bytes, ` +
        `larger than a stage of ${ring.stageBytes}; respect budget.chunkBytes`,
    );
  }
  return layout;
}
