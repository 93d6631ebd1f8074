/** @file layerNorm: a task normalizes its runs of every row. */
import type { TaskBody } from "@mpk/schedule";
import { normalizeRuns } from "../../shared/rows.ts";
import { columnTask, readFloats, readVector } from "../../shared/tasks.ts";
import type { LayerNormAttrs } from "./semantics.ts";

export const task: TaskBody<LayerNormAttrs> = columnTask(
  (op) => op.attrs.width,
  function* normalize(op, ctx, columns) {
    const { eps, width } = op.attrs;
    const x = readFloats(ctx, 0, columns);
    yield;
    const gain = readVector(ctx, 1, width);
    const bias = readVector(ctx, 2, width);
    return normalizeRuns(x, width, { kind: "layer", eps, gain, bias });
  },
);
