/** @file The tiling, packing and task contracts: what the scheduler asks of an op. */
import type { EvalContext, OpSemantics, TensorType, ValueId } from "@mpk/ir";

/** An op with everything resolved, as the facets see it. */
export interface OpInstance<A = unknown> {
  readonly kind: string;
  readonly attrs: A;
  readonly inputs: readonly TensorType[];
  readonly outputs: readonly TensorType[];
  /** Maximum tokens in a step: buffers are sized for it, tasks hold for every T up to it. */
  readonly maxTokens: number;
  /** Parts of K that share a tile's rows, as the planner chose; 1 where it is left out. */
  readonly folds?: number;
  /** Whether tiles share what they read in pairs, where they can, as the planner chose; else each alone. */
  readonly pairs?: boolean;
}

/**
 * A half-open range of columns of an operand, for every token of the step. Columns are the
 * flattened dims behind the first, so one interval says exactly what is touched for every T. [T]
 * has one column; a rank-1 value without T (a gain, a bias, one token id) is one row of columns.
 */
export interface Region {
  readonly operand: "input" | "output";
  readonly index: number;
  readonly lo: number;
  readonly hi: number;
}

/**
 * Access to a KV state, in columns of [kvHeads * headDim]. `past`: rows at positions before this
 * step's first token. `append`: rows of this step's tokens.
 */
export interface StateRegion {
  readonly state: number;
  readonly rows: "past" | "append";
  readonly access: "read" | "write";
  readonly lo: number;
  readonly hi: number;
}

/** What a task reads and writes; dependencies follow from where regions overlap. */
export interface TaskRegions {
  readonly reads: readonly Region[];
  readonly writes: readonly Region[];
  readonly states: readonly StateRegion[];
}

/** Where a view's columns start in its input, and whether it is the last row alone. */
export interface ViewOffset {
  readonly column: number;
  readonly lastRow: boolean;
}

/**
 * What tasks of a one-token step can do with a flagged value, one whose 32-bit words carry their
 * own arrival; see docs/adr/0006-flag-in-data.md. Words of bf16 are two neighbouring columns.
 */
export interface OpFlags<A = unknown> {
  /** Inputs of which a task can await each word that it reads. */
  polls(op: OpInstance<A>, budget: PackingBudget): readonly number[];
  /** Whether tasks can write output 0 word by word, clearing the other copy. */
  stores(op: OpInstance<A>, budget: PackingBudget): boolean;
}

/** How an op is cut into tiles and what tiles touch: the second facet of an op. */
export interface OpTiling<A = unknown> {
  /** Number of tiles; a task is a contiguous tile range [lo, hi) on one SM. 0 for a view. */
  tiles(op: OpInstance<A>): number;
  /** Where output 0 lies in input 0 if the op is a view, which never becomes a task; else null. */
  view(op: OpInstance<A>): ViewOffset | null;
  /**
   * `spread`: as even as possible over all SMs. `single`: one task with all tiles.
   */
  readonly placement: "spread" | "single";
  /**
   * The folds beside 1 that the planner may choose (see `StreamLayout`): more, smaller tiles for the
   * SMs that few large ones leave idle. Left out: none. What an op can do, its layout says.
   */
  folds?(op: OpInstance<A>, budget: PackingBudget): readonly number[];
  /** Exactly what tiles [lo, hi) touch. Weights that are streamed or resident are left out. */
  regions(op: OpInstance<A>, lo: number, hi: number): TaskRegions;
  /** Relative cost of one tile beyond its streamed bytes, in bytes-equivalent. */
  tileCostBytes(op: OpInstance<A>): number;
  /** Null: tasks neither poll nor store flagged values. */
  readonly flags: OpFlags<A> | null;
}

/**
 * How a contraction's weights lie in the stream: `mma-a-bf16`, fragments of the A operand of
 * mma.m16n8k16 (row.col, bf16), 512 bytes each, in 32-wide K blocks (two fragments, 1 KiB).
 *
 * A tile is 16 packed rows. With G groups and F folds it holds W = 16/(G F) rows of each group, each
 * in F parts: packed row r is row (r mod W) of group (floor(r / W) mod G), of fold floor(r / (W G)).
 * G is 1, 2, 4 or 8, F 1, 2 or 4, and G F at most 8. A row's K blocks of 32 columns go round its
 * folds: packed block b of fold f is the row's block b F + f.
 *
 * Inside a packed block, of which a row's columns start at its own k0, fragment s (0, 1), lane
 * l = 4 g + q (g 0..7, q 0..3) holds eight bf16, in this order: row g, columns k0 + 8 q + 4 s + {0, 1};
 * row g + 8, the same columns; row g, columns + {2, 3}; row g + 8, columns + {2, 3}. (So that one
 * 16-byte read of activations at k0 + 8 q serves both fragments of a lane.)
 *
 * A chunk is `blocksPerChunk` consecutive packed blocks of one tile. Rows beyond N and columns beyond
 * K are zero. The chunks of a task (tiles lo..hi) follow in this order: tile groups of
 * `tilesPerGroup`; in a group, K slices of `chunksPerSlice` chunks; in a slice, the group's tiles;
 * in a tile, its chunks by ascending K. (The last group and the last slice may be shorter.)
 */
export interface StreamLayout {
  readonly format: "mma-a-bf16";
  /** Input index of each group's weight, each bf16 [n, k]. */
  readonly weights: readonly number[];
  readonly n: number;
  readonly k: number;
  readonly blocksPerChunk: number;
  readonly chunksPerTile: number;
  readonly chunksPerSlice: number;
  readonly tilesPerGroup: number;
  readonly folds: number;
}

/** The scheduler's choices that an op's packing depends on. */
export interface PackingBudget {
  /** Shared-memory bytes for the activations of all tokens of a step, or of so many as ops ask for. */
  readonly activationBytes: number;
  /** Shared-memory bytes for one of the two partial-sum buffers. */
  readonly partialBytes: number;
  readonly chunkBytes: number;
  readonly consumerWarps: number;
  /** Stages of the ring: chunks that can be there at once. */
  readonly stages: number;
}

/** What of the ring is known before it is chosen. */
export type RingShape = Pick<PackingBudget, "chunkBytes" | "consumerWarps">;

/** Shared memory that an op's tasks would like. The least that any op asks for counts, and the most. */
export interface SharedDemand {
  /** Tokens for which `activationBytes` and `partialBytes` are to be sized; at most `maxTokens`. */
  readonly tokens: number;
  /**
   * Bytes beside the ring, activations and both partial-sum buffers together. The ring is made
   * smaller for them, though not smaller than its least.
   */
  readonly workBytes: number;
}

/** How an op's tasks use what is shared, where not by the planner's own rule. */
export interface TaskRoom {
  /** Shared memory beside the ring that a task takes in a step of so many tokens. */
  bytes(tokens: number): number;
  /**
   * Chunks that are consumed from one barrier of all consumer warps to the next, at most. With no
   * more than the ring has stages, a chunk need not go to the warp that had its stage before. Null:
   * chunk i is warp (i mod warps)'s.
   */
  readonly chunksBetweenBarriers: number | null;
}

/** Which weights an op streams, and in which layout: the third facet of an op. */
export interface OpPacking<A = unknown> {
  /** Inputs read as resident weights (norm gains, biases, embedding rows): never streamed. */
  resident(op: OpInstance<A>): readonly number[];
  /** The streamed weights' layout, or null where nothing is streamed. */
  stream(op: OpInstance<A>, budget: PackingBudget): StreamLayout | null;
  /** What the op's tasks ask of shared memory; left out: what `PackingBudget` promises. */
  demand?(op: OpInstance<A>, ring: RingShape): SharedDemand;
  /**
   * The most chunks that a tile takes through the ring in a step beside its stream, with so many
   * positions: cached state, which the kernel counts as it runs. Left out: none.
   */
  cachedChunks?(op: OpInstance<A>, budget: PackingBudget, maxContext: number): number;
  /** What tasks of this layout take; left out or null: by the rule, for all tokens of a step. */
  room?(op: OpInstance<A>, layout: StreamLayout, budget: PackingBudget): TaskRoom | null;
}

/**
 * One task on the virtual GPU. Nothing is found by name: operands are read and written as column
 * intervals of buffers, weights come as the chunks that the stream delivers, in order.
 */
export interface TaskContext {
  readonly tileLo: number;
  readonly tileHi: number;
  readonly eval: EvalContext;
  /** The op's states, for `eval.state`: `StateRegion.state` is an index of this list. */
  readonly states: readonly ValueId[];
  /**
   * [rows, hi - lo] row-major, from an input's buffer or a resident weight. Rows are T or 1 as the
   * input's type says, all rows of a weight.
   */
  read(input: number, lo: number, hi: number): Float32Array | Int32Array;
  /** [hi - lo], from one row of a resident weight (an embedding table). */
  readRow(input: number, row: number, lo: number, hi: number): Float32Array;
  /** Writes [T or 1, hi - lo] row-major to an output's buffer. */
  write(output: number, lo: number, hi: number, data: Float32Array | Int32Array): void;
  /** Waits for the next chunk of this SM's stream and gives its bytes. */
  nextChunk(): Uint8Array;
}

/** Runs a task. A generator: it yields wherever another SM may get in between. */
export type TaskBody<A = unknown> = (
  op: OpInstance<A>,
  layout: StreamLayout | null,
  ctx: TaskContext,
) => Generator<void, void, void>;

/** All that the planner, the verifier and the virtual GPU know of an op. */
export interface OpSchedule<A = unknown> {
  readonly semantics: OpSemantics<A>;
  readonly tiling: OpTiling<A>;
  readonly packing: OpPacking<A>;
  /** What a task computes, on the virtual GPU. */
  readonly task: TaskBody<A>;
}

/** Ops by name; a table does not know its ops' attributes, hence `never`. */
export type ScheduleTable = ReadonlyMap<string, OpSchedule<never>>;

