/**
 * @file linear in plans whose steps may have many tokens: their activations pass in K slices, so
 * tiles share each slice, and the stream is ordered for it. Pure.
 */
import { fewTokens, ShapeError } from "@mpk/ir";
import type {
  OpInstance, PackingBudget, RingShape, SharedDemand, StreamLayout, TaskRoom,
} from "@mpk/schedule";
import { inputColumns, outputColumns } from "../../shared/tiles.ts";
import { linearInputs } from "./semantics.ts";
import type { LinearAttrs } from "./semantics.ts";

/** `mma-a-bf16`: columns and bytes of a K block, rows of a tile. */
export const [blockColumns, blockBytes, tileRows] = [32, 1024, 16] as const;
/** The most tokens of a step that the kernel has accumulators for. */
export const mostStepTokens = 64;
/** One token's activations of a K block in shared memory, bf16; and its norm's scale and mean. */
const [tokenBlockBytes, statisticsBytes] = [2 * blockColumns, 8];
/** Bytes that a buffer of slices is a multiple of. */
const bufferStep = 128;

/** Whether an op has rows for all tokens of a step, and a step may have many. */
export const isWide = (op: OpInstance<LinearAttrs>): boolean =>
  op.maxTokens > fewTokens && !op.attrs.lastRow && op.inputs[0]?.shape[0] === "T";

/** Rows that a step's products are made for: the kernel has code for 8, 16, 32 and 64. */
const rowsFor = (maxTokens: number): number => 2 ** Math.ceil(Math.log2(Math.max(16, maxTokens)));

/** Tiles whose sums one warp can hold in registers. */
const tilesPerWarp = 2;
/** Tiles of a task whose columns of x are registers' in steps of 9 to 16 tokens. */
const mostFewTiles = 3;
/** Slices of x that are in shared memory at once: one is used, the others are on their way. */
const [fewestBuffers, mostBuffers] = [3, 6];

/** Shared memory of a task: slices of x of `blocks` K blocks, and the rows' statistics. */
const slicesBytes = (rows: number, blocks: number): number =>
  rows * (fewestBuffers * blocks * tokenBlockBytes + statisticsBytes);

/** Buffers as slices.cuh makes them: as many as hold the columns of a chunk that fills its stage. */
function buffersIn(rows: number, work: number, stageBytes: number): number {
  const whole = rows * Math.floor(stageBytes / blockBytes) * tokenBlockBytes;
  const fitting = Math.floor((work - rows * statisticsBytes) / whole);
  return Math.min(mostBuffers, Math.max(fewestBuffers, fitting));
}

/** Bytes of one of the buffers, as slices.cuh lays them out. */
const bufferBytes = (rows: number, work: number, stageBytes: number): number =>
  Math.floor((work - rows * statisticsBytes) / buffersIn(rows, work, stageBytes) / bufferStep) * bufferStep;

/** Shared memory of a task at its end: partial sums of a tile a warp, and the statistics. */
const sumsBytes = (rows: number, warps: number): number =>
  rows * (warps * tileRows * 4 + statisticsBytes);

/** Tokens whose activations are held at once: of larger steps slices, but all of one token's. */
export const heldTokens = ({ maxTokens }: OpInstance): number =>
  maxTokens > fewTokens ? 1 : maxTokens;

/** With many tokens a task would like slices of a whole chunk. */
export function demand(
  op: OpInstance<LinearAttrs>,
  { chunkBytes, consumerWarps }: RingShape,
): SharedDemand {
  const tokens = heldTokens(op);
  if (!isWide(op)) return { tokens, workBytes: 0 };
  const rows = rowsFor(op.maxTokens);
  const kBlocks = Math.ceil(inputColumns(op, 0) / blockColumns);
  const blocks = Math.min(kBlocks, Math.floor(chunkBytes / blockBytes));
  return { tokens, workBytes: Math.max(slicesBytes(rows, blocks), sumsBytes(rows, consumerWarps)) };
}

/**
 * The layout for many tokens: K slices of one chunk, each for all tiles of a group, so that a slice
 * of x is loaded once for the group.
 *
 * - blocksPerChunk: as many K blocks as a stage holds and as three slices of x have room for, evened
 *   out over the chunks of a tile;
 * - tilesPerGroup: as many as the warps can hold sums of, the ring holds chunks of, and, if one
 *   token's whole x has room, as many as have room for its partial sums beside it.
 *
 * Throws `ShapeError` where not even slices of one K block fit.
 */
export function wideLayout(op: OpInstance<LinearAttrs>, budget: PackingBudget): StreamLayout {
  const { weights } = linearInputs(op.attrs, op.inputs.length);
  const { consumerWarps, chunkBytes, stages } = budget;
  const [k, n] = [inputColumns(op, 0), outputColumns(op)];
  const rows = rowsFor(op.maxTokens);
  const work = budget.activationBytes + 2 * budget.partialBytes;
  const fitting = Math.floor(bufferBytes(rows, work, chunkBytes) / (rows * tokenBlockBytes));
  const most = Math.min(Math.floor(chunkBytes / blockBytes), fitting);
  if (most < 1 || sumsBytes(rows, consumerWarps) > work) {
    const needs = Math.max(slicesBytes(rows, 1), sumsBytes(rows, consumerWarps));
    throw new ShapeError(
      `${work} bytes of shared memory beside the ring are too few for steps of ${op.maxTokens} ` +
        `tokens, which need ${needs}; lower maxTokens`,
    );
  }
  const kBlocks = Math.ceil(k / blockColumns);
  const chunksPerTile = Math.ceil(kBlocks / most);
  const blocksPerChunk = Math.ceil(kBlocks / chunksPerTile);
  const warpTiles = consumerWarps * Math.min(tilesPerWarp, Math.floor(stages / consumerWarps));
  const oneToken = chunksPerTile * blocksPerChunk * tokenBlockBytes;
  const free = work - rows * statisticsBytes - oneToken;
  const beside = Math.floor(free / (consumerWarps * tileRows * 4));
  return {
    format: "mma-a-bf16",
    weights, n, k, blocksPerChunk, chunksPerTile,
    chunksPerSlice: 1,
    tilesPerGroup: beside < 1 ? warpTiles : Math.min(warpTiles, beside),
    folds: 1,
  };
}

/** The most tiles of a task that few_tiles.cuh takes: every warp's sums, and a chunk of each tile a warp. */
function fewTiles(
  maxTokens: number, { activationBytes, partialBytes, consumerWarps, stages }: PackingBudget,
): number {
  const rows = rowsFor(maxTokens);
  if (rows !== 16) return 0;
  const work = activationBytes + 2 * partialBytes - rows * statisticsBytes;
  const fitting = Math.floor(work / (rows * consumerWarps * tileRows * 4));
  return Math.min(fitting, Math.floor(stages / consumerWarps), mostFewTiles);
}

/** One token's whole x and the sums of a group's tiles, a slot for each warp. */
const oneRowBytes = (
  { chunksPerTile, blocksPerChunk, tilesPerGroup }: StreamLayout, consumerWarps: number,
): number =>
  chunksPerTile * blocksPerChunk * tokenBlockBytes + tilesPerGroup * consumerWarps * tileRows * 4;

/** What linear_wide.cuh takes. */
export function wideRoom(
  { maxTokens }: OpInstance<LinearAttrs>,
  layout: StreamLayout,
  budget: PackingBudget,
): TaskRoom {
  const { activationBytes, partialBytes, consumerWarps, stages, chunkBytes } = budget;
  const work = activationBytes + 2 * partialBytes;
  const { blocksPerChunk, tilesPerGroup } = layout;
  const statistics = rowsFor(maxTokens) * statisticsBytes;
  const oneRow = oneRowBytes(layout, consumerWarps) + statistics;
  const few = fewTiles(maxTokens, budget);
  return {
    // Slices have more chunks only where half of the ring holds them for all tiles; few tiles, a chunk
    // of each for every warp.
    chunksBetweenBarriers: Math.max(tilesPerGroup, Math.floor(stages / 2), few * consumerWarps),
    bytes(tokens) {
      if (tokens === 1 && oneRow <= work) return oneRow;
      const rows = tokens <= 8 ? 8 : rowsFor(tokens);
      const buffers = buffersIn(rowsFor(maxTokens), work, chunkBytes);
      const slices = buffers * rows * blocksPerChunk * tokenBlockBytes;
      const sums = Math.max(1, tokens > 8 ? few : 0) * rows * consumerWarps * tileRows * 4;
      return statistics + Math.max(slices, sums);
    },
  };
}
