/** @file linear: the folds of K that a tile may have (see `StreamLayout`). Pure. */
import type { OpInstance, PackingBudget } from "@mpk/schedule";
import { rowPadding, streamLayout } from "./packing.ts";
import type { LinearAttrs } from "./semantics.ts";
import { keepsRows } from "./slices.ts";
import { blockColumns, heldTokens, isWide } from "./wide.ts";

/**
 * Whether one token's whole x has room in shared memory: else it passes in slices. The body for many
 * tokens neither polls nor stores flagged.
 */
export function rowFits(op: OpInstance<LinearAttrs>, budget: PackingBudget): boolean {
  if (isWide(op)) return false;
  const { blocksPerChunk, chunksPerTile, folds } = streamLayout(op, budget);
  return chunksPerTile * blocksPerChunk * folds * 64 + 64 <= budget.activationBytes;
}

/** Whether steps of a few tokens have x in registers for all tiles of a task. */
const keeps = (op: OpInstance<LinearAttrs>, budget: PackingBudget): boolean =>
  keepsRows(streamLayout(op, budget), budget.consumerWarps);

/**
 * Folds that take nothing away: x of one token still has room as a whole, so that it can be polled, and
 * x of a few tokens stays in registers where it is there without folds.
 */
export function goodFolds(op: OpInstance<LinearAttrs>, budget: PackingBudget): readonly number[] {
  if (isWide(op)) return [];
  return [2, 4].filter((folds) => {
    const other = { ...op, folds };
    // Else not even one block would fit, which is an error where it was asked for.
    if (budget.activationBytes < rowPadding + 2 * blockColumns * folds) return false;
    if (streamLayout(other, budget).folds !== folds) return false;
    if (rowFits(op, budget) && !rowFits(other, budget)) return false;
    return heldTokens(op) === 1 || !keeps(op, budget) || keeps(other, budget);
  });
}
