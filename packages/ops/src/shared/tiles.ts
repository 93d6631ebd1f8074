/** @file Tilings that several ops share. Pure. */
import { fewTokens } from "@mpk/ir";
import type {
  OpFlags,
  OpInstance,
  OpPacking,
  OpTiling,
  Region,
  TaskBody,
  TaskRegions,
  ViewOffset,
} from "@mpk/schedule";
import { columnsOfType, inputAt } from "./shapes.ts";

/**
 * Columns of one tile of an elementwise op: of a few tokens' rows one for each thread, of many tokens' as
 * many as a few loads a thread bring at once.
 */
export const columnBlock = ({ maxTokens }: Pick<OpInstance, "maxTokens">): number =>
  maxTokens > fewTokens ? 64 : 256;

/** A half-open range of columns. */
export interface Interval {
  readonly lo: number;
  readonly hi: number;
}

/** Columns of tiles [lo, hi), `width` each, of `columns` in all. */
export const tileInterval = (columns: number, width: number, lo: number, hi: number): Interval => ({
  lo: Math.min(columns, lo * width),
  hi: Math.min(columns, hi * width),
});

/** A region of an input. */
export const readsInput = (index: number, { lo, hi }: Interval): Region => ({
  operand: "input",
  index,
  lo,
  hi,
});

/** A region of output 0. */
export const writesOutput = ({ lo, hi }: Interval): Region => ({
  operand: "output",
  index: 0,
  lo,
  hi,
});

/** Regions of a task without state. */
export const regionsOf = (reads: readonly Region[], write: Interval): TaskRegions => ({
  reads,
  writes: [writesOutput(write)],
  states: [],
});

/** Columns of an input of an op instance. */
export const inputColumns = (op: OpInstance, index: number): number =>
  columnsOfType(inputAt(op.inputs, index, "operand"));

/** Columns of an op instance's output. */
export const outputColumns = (op: OpInstance): number =>
  columnsOfType(inputAt(op.outputs, 0, "result"));

/** Bytes that one column of all tokens stands for in a task's cost: read and written, 4 each. */
export const columnBytes = (op: OpInstance): number => 8 * op.maxTokens;

/** The tiling of an op that makes tasks: not a view. Without `flags` it takes no flagged values. */
export function tasksOf<A>(
  tiling: Omit<OpTiling<A>, "view" | "flags">,
  flags: OpFlags<A> | null = null,
): OpTiling<A> {
  return Object.freeze({ ...tiling, view: () => null, flags });
}

/**
 * The tiling of an op whose tiles are runs of columns of the output, with column c reading columns
 * c of each of the inputs named by `reads`.
 */
export function columnTiling<A>(facets: {
  readonly width: (op: OpInstance<A>) => number;
  /** Inputs read in the columns written. */
  readonly aligned: (op: OpInstance<A>) => readonly number[];
  /** Inputs read whole. */
  readonly whole?: (op: OpInstance<A>) => readonly number[];
  readonly flags?: OpFlags<A>;
}): OpTiling<A> {
  const { width, aligned, whole = () => [], flags = null } = facets;
  return tasksOf({
    tiles: (op) => Math.ceil(outputColumns(op) / width(op)),
    placement: "spread",
    regions(op, lo, hi) {
      const columns = tileInterval(outputColumns(op), width(op), lo, hi);
      const reads = [
        ...aligned(op).map((index) => readsInput(index, columns)),
        ...whole(op).map((index) => readsInput(index, { lo: 0, hi: inputColumns(op, index) })),
      ];
      return regionsOf(reads, columns);
    },
    tileCostBytes: (op) => width(op) * columnBytes(op),
  }, flags);
}

/** The tiling of an op done by one task that reads all of the inputs named. */
export function singleTiling<A>(whole: (op: OpInstance<A>) => readonly number[]): OpTiling<A> {
  return tasksOf({
    tiles: () => 1,
    placement: "single",
    regions(op) {
      const reads = whole(op).map((index) => {
        return readsInput(index, { lo: 0, hi: inputColumns(op, index) });
      });
      return regionsOf(reads, { lo: 0, hi: outputColumns(op) });
    },
    tileCostBytes: (op) =>
      whole(op).reduce((sum, index) => sum + inputColumns(op, index) * columnBytes(op), 0),
  });
}

/** The tiling of a view: no tiles. */
export function viewTiling<A>(offset: (attrs: A) => ViewOffset): OpTiling<A> {
  return Object.freeze({
    tiles: () => 0,
    view: (op: OpInstance<A>) => offset(op.attrs),
    placement: "spread",
    regions: () => ({ reads: [], writes: [], states: [] }),
    tileCostBytes: () => 0,
    flags: null,
  });
}

/** The body of a view's task, which is never run: a view has no tiles. */
export const viewTask: TaskBody = function* viewTask(op) {
  yield;
  throw new Error(`${op.kind} is a view: it has no tiles, so no task may run it`);
};

/** The packing of an op that streams nothing and reads the inputs named as resident weights. */
export function residentPacking<A>(
  resident: (op: OpInstance<A>) => readonly number[] = () => [],
): OpPacking<A> {
  return Object.freeze({ resident, stream: () => null });
}
