/** @file embedding: a task looks up its columns of each token's row. */
import type { TaskBody } from "@mpk/schedule";
import { inputAt } from "../../shared/shapes.ts";
import { columnTask, readInts } from "../../shared/tasks.ts";
import { columnBlock } from "../../shared/tiles.ts";
import { checkId } from "./semantics.ts";
import type { EmbeddingAttrs } from "./semantics.ts";

export const task: TaskBody<EmbeddingAttrs> = columnTask(
  columnBlock,
  function* lookUp(op, ctx, { lo, hi }) {
    const [vocabulary] = inputAt(op.inputs, 1, "table").shape;
    const ids = readInts(ctx, 0);
    const out = new Float32Array(ids.length * (hi - lo));
    for (const [token, id] of ids.entries()) {
      yield;
      checkId(id, Number(vocabulary));
      out.set(ctx.readRow(1, id, lo, hi), token * (hi - lo));
    }
    return out;
  },
);
