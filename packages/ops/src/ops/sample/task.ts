/** @file sample: the one task chooses the token. */
import type { TaskBody } from "@mpk/schedule";
import { readFloats } from "../../shared/tasks.ts";
import { inputColumns } from "../../shared/tiles.ts";
import { sampleToken } from "./semantics.ts";
import type { SampleAttrs } from "./semantics.ts";

export const task: TaskBody<SampleAttrs> = function* choose(op, _layout, ctx) {
  const logits = readFloats(ctx, 0, { lo: 0, hi: inputColumns(op, 0) });
  yield;
  const pairs =
    op.inputs.length > 1 ? readFloats(ctx, 1, { lo: 0, hi: inputColumns(op, 1) }) : null;
  yield;
  ctx.write(0, 0, 1, Int32Array.of(sampleToken(logits, pairs, ctx.eval)));
};
