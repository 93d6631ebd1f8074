/** @file rope: a task turns its heads of every token. */
import type { TaskBody } from "@mpk/schedule";
import { columnTask, readFloats, readInts } from "../../shared/tasks.ts";
import { ropeFrequencies, rotateHead, rotation } from "./semantics.ts";
import type { RopeAttrs } from "./semantics.ts";

export const task: TaskBody<RopeAttrs> = columnTask(
  (op) => op.attrs.headDim,
  function* turnHeads(op, ctx, columns) {
    const { headDim } = op.attrs;
    const positions = readInts(ctx, 1);
    yield;
    const out = readFloats(ctx, 0, columns).slice();
    const frequencies = ropeFrequencies(op.attrs);
    const width = columns.hi - columns.lo;
    positions.forEach((position, token) => {
      const turn = rotation(position, frequencies);
      for (let at = 0; at < width; at += headDim) rotateHead(out, token * width + at, turn);
    });
    return out;
  },
);
