/** @file Pass: a sum over all devices is the identity on one. */
import { rewrite } from "./graph.ts";
import type { Graph } from "./graph.ts";
import type { Pass } from "./pass.ts";

function dropAll(graph: Graph): void {
  for (const candidate of graph.nodes()) {
    const [y] = candidate.op.outputs;
    const node = y === undefined ? null : graph.producer(y);
    const [x] = node?.op.inputs ?? [];
    if (node?.op.kind !== "allReduce" || x === undefined || y === undefined) continue;
    if (graph.producer(x)) graph.replaceUses(y, x);
  }
}

/** Removes `allReduce` ops: for one device only. */
export const dropAllReduce: Pass = {
  name: "dropAllReduce",
  reason: "before the folds, which it would keep from seeing the residual behind a projection",
  run: (program, table) => rewrite(program, table, dropAll),
};
