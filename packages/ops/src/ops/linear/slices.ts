/** @file linear: slices of x that tiles share in steps of a few tokens. Pure. */
import type { OpInstance, PackingBudget, StreamLayout } from "@mpk/schedule";
import type { LinearAttrs } from "./semantics.ts";

/** Blocks of 32 columns of x whose fragments a warp keeps in registers: see linear_of_few.cuh. */
const keptBlocks = 16;
/** Tiles of a group: each has one of the two buffers of partial sums. */
const sharingTiles = 2;

/** Whether steps of a few tokens have x in registers for all tiles of a task. */
export function keepsRows(
  { blocksPerChunk, chunksPerTile, folds }: StreamLayout, warps: number,
): boolean {
  const own = Math.max(1, Math.floor(chunksPerTile / warps));
  const alike = chunksPerTile % warps === 0 || warps % chunksPerTile === 0;
  return alike && own * blocksPerChunk * folds <= keptBlocks;
}

/**
 * The same layout, if the planner asks for pairs, in slices that two tiles share, where x of a few
 * tokens is read for each tile: rows of bf16 that no norm changes. A slice has a chunk of each tile for
 * each warp. One token's x has room as a whole, so that slices are nothing to it but an order.
 */
export function withSlices(
  op: OpInstance<LinearAttrs>, layout: StreamLayout, { consumerWarps: warps }: PackingBudget,
): StreamLayout {
  const { chunksPerTile, chunksPerSlice, folds } = layout;
  const [x] = op.inputs;
  const { norm, lastRow } = op.attrs;
  const rows = op.pairs === true && op.maxTokens > 1 && !lastRow && x?.shape[0] === "T";
  const asTheyAre = norm === null && x?.dtype === "bf16" && folds === 1;
  const even = chunksPerSlice === chunksPerTile && chunksPerTile % warps === 0;
  if (!rows || !asTheyAre || !even || keepsRows(layout, warps)) return layout;
  return { ...layout, chunksPerSlice: warps, tilesPerGroup: sharingTiles };
}

/** Whether a layout of a few tokens is one of those. */
export const sharesSlices = ({ chunksPerSlice, chunksPerTile, tilesPerGroup }: StreamLayout): boolean =>
  tilesPerGroup > 1 && chunksPerSlice < chunksPerTile;
