/** @file attentionPart: a tile is one key head and one split of its keys. */
import type { OpTiling } from "@mpk/schedule";
import { readsInput, tasksOf, writesOutput } from "../../shared/tiles.ts";
import type { Interval } from "../../shared/tiles.ts";
import { partColumns } from "./semantics.ts";
import type { AttentionPartAttrs } from "./semantics.ts";

/** What tiles [lo, hi) touch, in columns. */
export interface PartSpan {
  /** Columns of q: whole groups. */
  readonly q: Interval;
  /** Columns of the state. */
  readonly kv: Interval;
  /** State columns that they append, of k and v also those that they read: where split 0 is. */
  readonly append: Interval;
  /** Columns of the result. */
  readonly out: Interval;
}

/** See `PartSpan`. */
export function partSpan(attrs: AttentionPartAttrs, lo: number, hi: number): PartSpan {
  const { heads, kvHeads, headDim, splits } = attrs;
  const times = ({ lo: from, hi: to }: Interval, width: number): Interval => ({
    lo: from * width,
    hi: to * width,
  });
  const heard = { lo: Math.floor(lo / splits), hi: Math.ceil(hi / splits) };
  return {
    q: times(heard, (heads / kvHeads) * headDim),
    kv: times(heard, headDim),
    append: times({ lo: Math.ceil(lo / splits), hi: heard.hi }, headDim),
    out: times({ lo, hi }, partColumns(attrs)),
  };
}

/** Cached positions that a head's cost stands for; what a step really reads is not known here. */
const typicalContext = 2048;

export const tiling: OpTiling<AttentionPartAttrs> = tasksOf({
  tiles: (op) => op.attrs.kvHeads * op.attrs.splits,
  placement: "spread",
  regions(op, lo, hi) {
    const { q, kv, append, out } = partSpan(op.attrs, lo, hi);
    const past = { state: 0, rows: "past", access: "read", ...kv } as const;
    const reads = [readsInput(0, q), readsInput(3, { lo: 0, hi: 1 })];
    if (append.lo >= append.hi) return { reads, writes: [writesOutput(out)], states: [past] };
    return {
      reads: [...reads, readsInput(1, append), readsInput(2, append)],
      writes: [writesOutput(out)],
      states: [past, { state: 0, rows: "append", access: "write", ...append }],
    };
  },
  // Keys and values in bf16.
  tileCostBytes: ({ attrs }) => Math.ceil(typicalContext / attrs.splits) * attrs.headDim * 2 * 2,
}, {
  polls: () => [0, 1, 2],
  stores: () => true,
});
