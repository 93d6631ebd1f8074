/** @file Chooses the ops whose tiles are folded along K, so that few large tiles leave no SM idle. Pure. */
import { PlanError } from "../errors.ts";
import type { RingSpec } from "../plan.ts";
import { chunkBytesOf } from "../packing.ts";
import { chooseClasses, withFolds } from "./nodes.ts";
import type { OpClass, OpNode } from "./nodes.ts";
import { layoutOf } from "./ring.ts";

/** `auto`: in two, where the busiest SM gets less that counts; a number: wherever the ops can. */
export type FoldChoice = "auto" | 1 | 2 | 4;

/** More folds have not been seen to gain on a GPU, and multiply more in steps of a few tokens. */
const autoFolds = 2;
/** What folds must take from the busiest SM's bytes of an op: less than this share is not worth it. */
const leastGain = 0.02;

/** Bytes of an op that its busiest SM streams, of as many tiles as there are at most. */
function busiestBytes(cls: OpClass, ring: RingSpec, sms: number): number {
  const layout = layoutOf(cls, ring);
  if (layout === null) return 0;
  return Math.ceil(cls.tiles / sms) * layout.chunksPerTile * chunkBytesOf(layout);
}

/**
 * An op in folds, where those take enough from its busiest SM. Not where all that SM's
 * bytes fit the ring: SMs that have less of this op are then filling theirs with the next one's, so
 * that nobody waits for the difference.
 */
function folded(cls: OpClass, ring: RingSpec, sms: number): OpClass {
  const { schedule: { tiling }, instance } = cls;
  const whole = busiestBytes(cls, ring, sms);
  if (whole < ring.stages * ring.stageBytes) return cls;
  const good = tiling.folds?.(instance, { ...ring, chunkBytes: ring.stageBytes }) ?? [];
  if (!good.includes(autoFolds)) return cls;
  const other = withFolds(cls, autoFolds);
  return busiestBytes(other, ring, sms) <= whole * (1 - leastGain) ? other : cls;
}

/** An op in so many folds, if its tiles can have them. */
function foldedTo(cls: OpClass, ring: RingSpec, folds: number): OpClass {
  const other = withFolds(cls, folds);
  return layoutOf(other, ring)?.folds === folds ? other : cls;
}

/** The same ops with the folds that are chosen for them. Throws `PlanError` for another choice. */
export function foldOps(
  nodes: readonly OpNode[], ring: RingSpec, sms: number, choice: FoldChoice,
): readonly OpNode[] {
  if (choice !== "auto" && ![1, 2, 4].includes(choice)) {
    throw new PlanError(`folds: expected "auto", 1, 2 or 4, got ${String(choice)}`);
  }
  return chooseClasses(nodes, (cls) =>
    choice === "auto" ? folded(cls, ring, sms) : foldedTo(cls, ring, choice));
}
