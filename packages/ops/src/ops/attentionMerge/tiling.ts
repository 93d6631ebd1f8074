/** @file attentionMerge: a tile is a run of columns of one head. */
import type { OpInstance, OpTiling } from "@mpk/schedule";
import { readsInput, regionsOf, tasksOf, tileInterval } from "../../shared/tiles.ts";
import { outputColumns } from "../../shared/tiles.ts";
import { partColumns } from "../attentionPart/semantics.ts";
import type { AttentionMergeAttrs } from "./semantics.ts";

/** Columns of a tile: few, so that many SMs share what is mostly latency; a whole part of a head. */
export const mergeWidth = ({ headDim }: { readonly headDim: number }): number =>
  [32, 16].find((width) => headDim % width === 0) ?? headDim;

/** Columns of the parts that output columns [lo, hi) come from: those of their key heads. */
function partsRead({ attrs }: OpInstance<AttentionMergeAttrs>, lo: number, hi: number) {
  const { heads, kvHeads, headDim, splits } = attrs;
  const groupColumns = (heads / kvHeads) * headDim;
  const width = splits * partColumns(attrs);
  return {
    lo: Math.floor(lo / groupColumns) * width,
    hi: Math.ceil(hi / groupColumns) * width,
  };
}

export const tiling: OpTiling<AttentionMergeAttrs> = tasksOf({
  tiles: (op) => outputColumns(op) / mergeWidth(op.attrs),
  placement: "spread",
  regions(op, lo, hi) {
    const columns = tileInterval(outputColumns(op), mergeWidth(op.attrs), lo, hi);
    return regionsOf([readsInput(0, partsRead(op, columns.lo, columns.hi))], columns);
  },
  tileCostBytes: ({ attrs, maxTokens }) => attrs.splits * mergeWidth(attrs) * 4 * maxTokens,
}, {
  polls: () => [0],
  stores: () => true,
});
