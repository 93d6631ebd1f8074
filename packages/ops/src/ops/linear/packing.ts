/** @file linear: the weights are streamed; the norm's parameters and vector extras are resident. */
import { ShapeError } from "@mpk/ir";
import type { OpInstance, OpPacking, PackingBudget, StreamLayout, TaskRoom } from "@mpk/schedule";
import { isVector } from "../../shared/shapes.ts";
import { inputColumns, outputColumns } from "../../shared/tiles.ts";
import { linearInputs } from "./semantics.ts";
import type { LinearAttrs } from "./semantics.ts";
import {
  blockBytes, blockColumns, demand, heldTokens, isWide, tileRows, wideLayout, wideRoom,
} from "./wide.ts";

/** Bytes of one token's activations in shared memory beyond its columns: row padding. */
const rowPadding = 64;

/**
 * The layout that a budget allows, for weights [n, k] and T = maxTokens, or 1 where steps may have
 * many tokens but the op has one row (with many rows: see wide.ts):
 *
 * - kBlocks = ceil(k / 32);
 * - most = min(chunkBytes / 1024, (activationBytes / T - 64) / 64), both rounded down: the K blocks
 *   of one chunk, which must fit a stage, and whose activations must fit the budget;
 * - chunksPerTile = ceil(kBlocks / most); blocksPerChunk = ceil(kBlocks / chunksPerTile), so that
 *   little of the last chunk is padding;
 * - tilesPerGroup = partialBytes / (consumerWarps · 16 · T · 4), rounded down: the tiles whose
 *   partial sums (float32, a slot a warp) are kept at once;
 * - chunksPerSlice = (activationBytes / T - 64) / (blocksPerChunk · 64), rounded down, at most
 *   chunksPerTile: then T · (chunksPerSlice · blocksPerChunk · 32 · 2 bytes + 64) fits.
 *
 * Throws `ShapeError` where not even one K block's activations or one tile's sums fit.
 */
export function streamLayout(op: OpInstance<LinearAttrs>, budget: PackingBudget): StreamLayout {
  const { weights } = linearInputs(op.attrs, op.inputs.length);
  const k = inputColumns(op, 0);
  const n = outputColumns(op);
  const kBlocks = Math.ceil(k / blockColumns);
  const tokens = heldTokens(op);
  const tokenBytes = budget.activationBytes / tokens - rowPadding;
  const fitting = Math.floor(tokenBytes / (2 * blockColumns));
  const most = Math.min(Math.floor(budget.chunkBytes / blockBytes), fitting);
  if (most < 1) {
    const has = `${budget.activationBytes} bytes of activations and ${budget.chunkBytes} a chunk`;
    const needs = `${tokens * (2 * blockColumns + rowPadding)} and ${blockBytes}`;
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
  return {
    format: "mma-a-bf16",
    weights,
    n,
    k,
    blocksPerChunk,
    chunksPerTile,
    chunksPerSlice: Math.min(chunksPerTile, Math.floor(fitting / blocksPerChunk)),
    tilesPerGroup,
  };
}

/** What linear.cuh takes for one row: all of x if it fits, else a slice; sums twice. */
function oneRowRoom(layout: StreamLayout, budget: PackingBudget): TaskRoom {
  const { blocksPerChunk, chunksPerTile, chunksPerSlice, tilesPerGroup } = layout;
  const [all, slice] = [chunksPerTile, chunksPerSlice].map(
    (chunks) => chunks * blocksPerChunk * 2 * blockColumns + rowPadding,
  );
  const sums = 2 * tilesPerGroup * budget.consumerWarps * tileRows * 4;
  const x = (all ?? 0) <= budget.activationBytes ? all : slice;
  return { chunksBetweenBarriers: null, bytes: () => (x ?? 0) + sums };
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
  room(op, layout, budget) {
    if (isWide(op)) return wideRoom(op, layout, budget);
    // By the planner's rule, but for one row where it takes one for each token of a step.
    return heldTokens(op) === op.maxTokens ? null : oneRowRoom(layout, budget);
  },
};
