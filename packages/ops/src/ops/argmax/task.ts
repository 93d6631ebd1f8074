/** @file argmax: the one task looks at every row. */
import type { TaskBody } from "@mpk/schedule";
import { argmaxRows } from "../../shared/rows.ts";
import { readFloats } from "../../shared/tasks.ts";
import { inputColumns } from "../../shared/tiles.ts";
import type { ArgmaxAttrs } from "./semantics.ts";

export const task: TaskBody<ArgmaxAttrs> = function* findMaxima(op, _layout, ctx) {
  const columns = inputColumns(op, 0);
  const x = readFloats(ctx, 0, { lo: 0, hi: columns });
  yield;
  const places = argmaxRows(x, columns);
  // i32 [T] has one column of rows, i32 [1] one row of columns: the same here.
  ctx.write(0, 0, 1, places);
};
