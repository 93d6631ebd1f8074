/** @file attention: a tile is one query head. */
import type { OpTiling } from "@mpk/schedule";
import { readsInput, tasksOf, writesOutput } from "../../shared/tiles.ts";
import type { Interval } from "../../shared/tiles.ts";
import type { AttentionAttrs, WholeAttentionAttrs } from "./semantics.ts";

/** What query heads [lo, hi) touch, in heads and in columns. */
export interface HeadSpan {
  /** Columns of q and of the result. */
  readonly q: Interval;
  /** Key heads they attend to. */
  readonly kvHeads: Interval;
  /** Those heads' columns of k, of v and of the state. */
  readonly kv: Interval;
  /** State columns that they append: of the groups whose first query head is among them. */
  readonly append: Interval;
}

/** See `HeadSpan`. */
export function headSpan(attrs: AttentionAttrs, lo: number, hi: number): HeadSpan {
  const { heads, kvHeads, headDim } = attrs;
  const group = heads / kvHeads;
  const columns = (of: Interval): Interval => ({ lo: of.lo * headDim, hi: of.hi * headDim });
  const kv = { lo: Math.floor(lo / group), hi: Math.ceil(hi / group) };
  return {
    q: columns({ lo, hi }),
    kvHeads: kv,
    kv: columns(kv),
    append: columns({ lo: Math.ceil(lo / group), hi: kv.hi }),
  };
}

/** Cached positions that a tile's cost stands for; what a step really reads is not known here. */
const typicalContext = 256;

export const tiling: OpTiling<WholeAttentionAttrs> = tasksOf({
  tiles: (op) => op.attrs.heads,
  placement: "spread",
  regions(op, lo, hi) {
    const { q, kv, append } = headSpan(op.attrs, lo, hi);
    const reads = [
      readsInput(0, q),
      readsInput(1, kv),
      readsInput(2, kv),
      readsInput(3, { lo: 0, hi: 1 }),
    ];
    const past = { state: 0, rows: "past", access: "read", ...kv } as const;
    const own = { state: 0, rows: "append", access: "write", ...append } as const;
    const states = append.lo < append.hi ? [past, own] : [past];
    return { reads, writes: [writesOutput(q)], states };
  },
  // Keys and values in bf16.
  tileCostBytes: ({ attrs }) => typicalContext * attrs.headDim * 2 * 2,
}, {
  polls: () => [0, 1, 2],
  stores: ({ attrs }) => attrs.out === "f32",
});
