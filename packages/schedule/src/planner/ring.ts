/** @file Chooses the ring and the shared-memory budget of one SM. Pure. */
import type { PackingBudget, SharedDemand, StreamLayout } from "../contracts.ts";
import { PlanError } from "../errors.ts";
import { blockColumns, chunkBytesOf } from "../packing.ts";
import type { Machine, RingSpec } from "../plan.ts";
import type { OpClass } from "./nodes.ts";
import { roundUp } from "./shapes.ts";

/** Eight warps fill an SM's four tensor-core partitions twice. */
const defaultWarps = 8;
/** 8 KiB chunks were measured faster than 4 KiB and equal to 16 KiB. */
const defaultStageBytes = 8192;
/** Barriers, the step descriptor and reduction scratch of the kernel. */
export const sharedReserveBytes = 2048;
/** Beyond 24 stages (192 KiB) nothing was measured to be gained. */
const mostStages = 24;
/** 48 KiB in flight: 32 and 40 decoded 2 % and 0.5 % slower on an H200, 56 no faster. */
const defaultInFlight = 6;
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
  /** Shared memory left to the kernel's own use; default 2048. */
  readonly reserveBytes?: number;
}

/** Shared memory for the tokens' activations of `k` columns, bf16: whole K blocks, and padding. */
function activationBytesFor(k: number, tokens: number): number {
  return roundUp(tokens * (2 * roundUp(k, blockColumns) + 64), 64);
}

/** The lengths of a program's contractions, found by asking packings with an unlimited budget. */
export function contractionLengths(classes: Iterable<OpClass>): readonly number[] {
  const budget: PackingBudget = {
    activationBytes: 2 ** 30, partialBytes: 2 ** 30, chunkBytes: defaultStageBytes,
    consumerWarps: defaultWarps, stages: mostStages,
  };
  const lengths = new Set<number>();
  for (const { schedule, instance } of classes) {
    const layout = schedule.packing.stream(instance, budget);
    if (layout !== null) lengths.add(layout.k);
  }
  return [...lengths];
}

/** What a program's ops ask of the ring together. */
export interface RingDemand extends SharedDemand {
  /** Lengths of the contractions. */
  readonly lengths: readonly number[];
}

export function ringDemand(
  classes: Iterable<OpClass>,
  maxTokens: number,
  options: RingOptions = {},
): RingDemand {
  const { consumerWarps = defaultWarps, stageBytes: chunkBytes = defaultStageBytes } = options;
  const all = [...classes];
  const asked = all.flatMap(({ schedule: { packing }, instance }) =>
    packing.demand?.(instance, { chunkBytes, consumerWarps }) ?? []);
  return {
    lengths: contractionLengths(all),
    tokens: Math.min(maxTokens, ...asked.map(({ tokens }) => tokens)),
    workBytes: Math.max(0, ...asked.map(({ workBytes }) => workBytes)),
  };
}

/**
 * The largest ring (at most 24 stages) beside which one token's longest activation and one tile's
 * partial sums twice fit, and what ops ask for. Then up to four tiles of partial sums (more share
 * one pass over sliced activations, but the gain is small): as many as let most contractions hold
 * all tokens' activations at once. Activations get the rest, up to all they can use: all of it
 * where ops hold fewer tokens at once than a step has, and make slices as long as there is room. If
 * no ring leaves that much, the smallest ring with whatever is left: activations then pass in K
 * slices even for one token.
 *
 * Throws `PlanError` for options that make no ring, and when not even 64 columns a token fit.
 */
export function chooseRing(
  machine: Machine,
  maxTokens: number,
  { lengths, tokens, workBytes }: RingDemand,
  options: RingOptions = {},
): RingSpec {
  const { consumerWarps = defaultWarps, stageBytes = defaultStageBytes } = options;
  const { reserveBytes = sharedReserveBytes, maxInFlight = defaultInFlight } = options;
  const tileBytes = consumerWarps * tileRows * tokens * 4;
  const longest = Math.max(0, ...lengths);
  const fits = Math.floor((machine.sharedBytes - reserveBytes) / stageBytes);
  const largest = Math.floor(Math.min(fits, mostStages) / consumerWarps) * consumerWarps;
  const smallest = Math.ceil((maxInFlight + 1) / consumerWarps) * consumerWarps;
  const [from, to] = [options.stages ?? largest, options.stages ?? smallest];
  checkOptions(consumerWarps, maxInFlight, to);
  const roomFor = (stages: number, tiles: number): number => {
    const taken = reserveBytes + stages * stageBytes + 2 * tiles * tileBytes;
    return Math.floor((machine.sharedBytes - taken) / 64) * 64;
  };
  const whole = (room: number): number =>
    lengths.filter((k) => activationBytesFor(k, tokens) <= room).length;
  const spec = (stages: number, tiles: number): RingSpec => {
    const room = roomFor(stages, tiles);
    const asked = roundUp(Math.max(0, workBytes - 2 * tiles * tileBytes), 64);
    const useful = Math.max(asked, activationBytesFor(longest, tokens));
    return {
      stages, stageBytes, consumerWarps, maxInFlight,
      activationBytes: tokens < maxTokens ? room : Math.min(room, useful),
      partialBytes: tiles * tileBytes,
    };
  };
  const isEnough = (stages: number, tiles: number): boolean => {
    const room = roomFor(stages, tiles);
    return room >= activationBytesFor(longest, 1) && room + 2 * tiles * tileBytes >= workBytes;
  };
  for (let stages = from; stages >= to; stages -= consumerWarps) {
    const tiles = [4, 3, 2, 1].filter((n) => isEnough(stages, n));
    tiles.sort((a, b) => whole(roomFor(stages, b)) - whole(roomFor(stages, a)) || b - a);
    if (tiles[0] !== undefined) return spec(stages, tiles[0]);
  }
  if (roomFor(to, 1) < activationBytesFor(64, tokens)) {
    throw new PlanError(
      `machine ${machine.name}: ${machine.sharedBytes} bytes of shared memory per SM hold no ` +
        `ring of ${to} stages of ${stageBytes} bytes beside activations of ${maxTokens} tokens; ` +
        `lower maxTokens`,
    );
  }
  return spec(to, 1);
}

function checkOptions(consumerWarps: number, maxInFlight: number, stages: number): void {
  const isGood = stages > maxInFlight && stages % consumerWarps === 0 && maxInFlight >= 1;
  if (isGood) return;
  throw new PlanError(
    `ring options: ${stages} stages must be more than the ${maxInFlight} chunks in flight and a ` +
      `multiple of the ${consumerWarps} consumer warps`,
  );
}

/** A class's stream layout under a ring. Throws `PlanError` when a chunk exceeds a stage. */
export function layoutOf(cls: OpClass, ring: RingSpec): StreamLayout | null {
  const { activationBytes, partialBytes } = ring;
  const layout = cls.schedule.packing.stream(cls.instance, {
    activationBytes, partialBytes, chunkBytes: ring.stageBytes, consumerWarps: ring.consumerWarps,
    stages: ring.stages,
  });
  if (layout !== null && chunkBytesOf(layout) > ring.stageBytes) {
    throw new PlanError(
      `${cls.instance.kind}: packs chunks of ${chunkBytesOf(layout)} bytes, ` +
        `larger than a stage of ${ring.stageBytes}; respect budget.chunkBytes`,
    );
  }
  return layout;
}
