/** @file attentionPart: a task attends with whole groups to the positions of its splits. */
import type { KvState } from "@mpk/ir";
import type { TaskBody } from "@mpk/schedule";
import { writeResult } from "../../shared/tasks.ts";
import type { Interval } from "../../shared/tiles.ts";
import { appendRows, asStateRows, readStep } from "../attention/task.ts";
import type { StepHeads } from "../attention/task.ts";
import { attendSplit, partColumns } from "./semantics.ts";
import type { AttentionPartAttrs, PositionRows } from "./semantics.ts";
import { partSpan } from "./tiling.ts";

/** Rows by position: those before the step from the cache, the step's own from `step`. */
function rowsOf(state: KvState, step: StepHeads, own: Interval): PositionRows {
  const start = step.positions[0] ?? 0;
  const tokens = own.lo < own.hi ? step.positions.length : 0;
  const [k, v] = [asStateRows(step.k, tokens, own), asStateRows(step.v, tokens, own)];
  const row = (fresh: readonly Float32Array[], position: number): Float32Array => {
    const found = fresh[position - start];
    if (found === undefined) throw new RangeError("positions of one step must be consecutive");
    return found;
  };
  return {
    k: (position) => (position < start ? state.k(position) : row(k, position)),
    v: (position) => (position < start ? state.v(position) : row(v, position)),
  };
}

export const task: TaskBody<AttentionPartAttrs> = function* attendParts(op, _layout, ctx) {
  const { attrs } = op;
  const { heads, kvHeads, headDim, splits } = attrs;
  const { tileLo, tileHi } = ctx;
  const span = partSpan(attrs, tileLo, tileHi);
  const [id] = ctx.states;
  if (id === undefined) throw new RangeError("attentionPart needs one KV state");
  const state = ctx.eval.state(id);
  const step = yield* readStep(op, ctx, span.q, span.append);
  yield* appendRows(state, step, span.append, span.append);
  const rows = rowsOf(state, step, span.append);
  const [width, groupColumns] = [partColumns(attrs), (heads / kvHeads) * headDim];
  const out = new Float32Array(step.positions.length * (span.out.hi - span.out.lo));
  const start = step.positions[0] ?? 0;
  for (const [token, position] of step.positions.entries()) {
    for (let tile = tileLo; tile < tileHi; tile++) {
      const part = { kvHead: Math.floor(tile / splits), split: tile % splits };
      const at = token * (span.q.hi - span.q.lo) + part.kvHead * groupColumns - span.q.lo;
      const to = (token * (tileHi - tileLo) + tile - tileLo) * width;
      const own = out.subarray(to, to + width);
      attendSplit(attrs, step.q, at, rows, part, { position, start }, own);
    }
    yield;
  }
  writeResult(op, ctx, span.out, out);
};
