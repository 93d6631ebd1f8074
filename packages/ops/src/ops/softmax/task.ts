/** @file softmax: a task turns its runs of every row into probabilities. */
import type { TaskBody } from "@mpk/schedule";
import { softmaxRun } from "../../shared/rows.ts";
import { columnTask, readFloats } from "../../shared/tasks.ts";
import type { SoftmaxAttrs } from "./semantics.ts";

export const task: TaskBody<SoftmaxAttrs> = columnTask(
  (op) => op.attrs.width,
  function* normalize(op, ctx, columns) {
    const x = readFloats(ctx, 0, columns);
    yield;
    const out = new Float32Array(x.length);
    const { width } = op.attrs;
    for (let start = 0; start < x.length; start += width) softmaxRun(x, start, width, out);
    return out;
  },
);
