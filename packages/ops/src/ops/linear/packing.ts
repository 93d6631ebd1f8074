/** @file linear: the weights are streamed; the norm's parameters and vector extras are resident. */
import { ShapeError } from "@mpk/ir";
import type { OpInstance, OpPacking, PackingBudget, StreamLayout, TaskRoom } from "@mpk/schedule";
import { isVector } from "../../shared/shapes.ts";
import { inputColumns, outputColumns } from "../../shared/tiles.ts";
import { linearInputs } from "./semantics.ts";
import type { LinearAttrs } from "./semantics.ts";
import { sharesSlices, withSlices } from "./slices.ts";
import {
  blockBytes, blockColumns, demand, heldTokens, isWide, tileRows, wideLayout, wideRoom,
} from "./wide.ts";

/**
 * Folds of its tiles' rows. Two rows of each group at least are left of a tile, as a word of bf16 is two
 * columns. Tiles for many tokens have none: their slices of x are consecutive columns.
 */
export function foldsOf(op: OpInstance<LinearAttrs>): number {
  const folds = op.folds ?? 1;
  return !isWide(op) && [1, 2, 4].includes(folds) && folds * op.attrs.groups <= 8 ? folds : 1;
}

/** Bytes of one token's activations in shared memory beyond its columns: row padding. */
export const rowPadding = 64;

/**
 * The layout that a budget allows, for weights [n, k] and steps of T = maxTokens, or of one row (with
 * many rows: see wide.ts). One token's x lies in shared memory, that of a few tokens in registers:
 *
 * - kBlocks = ceil(k / 32 / folds): packed blocks of a tile, each of `folds` K blocks;
 * - fitting = (activationBytes - 64) / 64 / folds: packed blocks whose x of one token fits the budget;
 * - most = min(chunkBytes / 1024, fitting), rounded down: the packed blocks of one chunk;
 * - chunksPerTile = ceil(kBlocks / most); blocksPerChunk = ceil(kBlocks / chunksPerTile), so that
 *   little of the last chunk is padding;
 * - chunksPerSlice: all of a tile where one token's x fits, else fitting / blocksPerChunk;
 * - tilesPerGroup = partialBytes / (consumerWarps · 16 · T · 4), rounded down: the tiles whose
 *   partial sums (float32, a slot a warp) are kept at once; with slices one, so that the order is
 *   tile after tile; but see `withSlices`.
 *
 * Throws `ShapeError` where not even one K block's activations or one tile's sums fit.
 */
export function streamLayout(op: OpInstance<LinearAttrs>, budget: PackingBudget): StreamLayout {
  const { weights } = linearInputs(op.attrs, op.inputs.length);
  const k = inputColumns(op, 0);
  const n = outputColumns(op);
  const folds = foldsOf(op);
  const kBlocks = Math.ceil(k / blockColumns / folds);
  const tokens = heldTokens(op);
  const xBytes = 2 * blockColumns * folds;
  const fitting = Math.floor((budget.activationBytes - rowPadding) / xBytes);
  const most = Math.min(Math.floor(budget.chunkBytes / blockBytes), fitting);
  if (most < 1) {
    const has = `${budget.activationBytes} bytes of activations and ${budget.chunkBytes} a chunk`;
    const needs = `${xBytes + rowPadding} and ${blockBytes}`;
    throw new ShapeError(`${has} are too few, one K block needs ${needs}; lower maxTokens`);
  }
  const chunksPerTile = Math.ceil(kBlocks / most);
  const blocksPerChunk = Math.ceil(kBlocks / chunksPerTile);
  const tileBytes = budget.consumerWarps * tileRows * tokens * 4;
  const tilesPerGroup = Math.floor(budget.partialBytes / tileBytes);
  if (tilesPerGroup < 1) {
    const has = `${budget.partialBytes} bytes of partial sums`;
    throw new ShapeError(`${has} are too few, one tile needs ${tileBytes}; lower maxTokens`);
  }
  const chunksPerSlice = Math.min(chunksPerTile, Math.floor(fitting / blocksPerChunk));
  const layout: StreamLayout = {
    format: "mma-a-bf16",
    weights,
    n,
    k,
    blocksPerChunk,
    chunksPerTile,
    chunksPerSlice,
    tilesPerGroup: chunksPerSlice < chunksPerTile ? 1 : tilesPerGroup,
    folds,
  };
  return withSlices(op, layout, budget);
}

/**
 * What linear.cuh takes for one token, a slice of x at least, and linear_of_few.cuh for more, or
 * few_shared.cuh, where a group's tiles have both buffers of sums.
 */
function room(
  op: OpInstance<LinearAttrs>, layout: StreamLayout, budget: PackingBudget,
): TaskRoom {
  const { blocksPerChunk, chunksPerTile, chunksPerSlice, tilesPerGroup, folds } = layout;
  const shares = sharesSlices(layout);
  const columns = (shares ? chunksPerTile : chunksPerSlice) * blocksPerChunk * folds * blockColumns;
  const x = 2 * columns + rowPadding;
  const sums = (shares ? 1 : 2) * tilesPerGroup * budget.consumerWarps * tileRows * 4;
  const most = heldTokens(op);
  return {
    chunksBetweenBarriers: null,
    bytes: (tokens) => (tokens > 1 && most > 1 ? sums * tokens : x + sums),
  };
}

export const packing: OpPacking<LinearAttrs> = {
  resident(op) {
    const { gain, bias, extras } = linearInputs(op.attrs, op.inputs.length);
    const vectors = extras.filter((index) => {
      const type = op.inputs[index];
      return type !== undefined && isVector(type);
    });
    return [gain, bias, ...vectors].filter((index) => index !== null);
  },
  stream: (op, budget) => (isWide(op) ? wideLayout(op, budget) : streamLayout(op, budget)),
  demand,
  room: (op, layout, budget) => (isWide(op) ? wideRoom : room)(op, layout, budget),
};
