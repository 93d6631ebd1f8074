/** @file Pass: projections of one activation that meet in an expression become one linear. */
import type { ValueId } from "../types.ts";
import { clusterOf, foldCluster, readOnlyBy } from "./absorb.ts";
import type { Cluster } from "./absorb.ts";
import { groupBy } from "./compose.ts";
import { rewrite } from "./graph.ts";
import type { Graph } from "./graph.ts";
import { asLinear, asMap } from "./match.ts";
import type { LinearView } from "./match.ts";
import type { Pass } from "./pass.ts";

/** What must agree for two linears to share their x and its prologue. */
export function prologueKey(linear: LinearView): string {
  const { node, x, norm, gains, round, lastRow } = linear;
  return JSON.stringify([node.op.kind, x, norm, gains, round, lastRow]);
}

/** The linears whose results only `cluster` reads. */
export function linearsOf(graph: Graph, cluster: Cluster): readonly LinearView[] {
  const ids = new Set<ValueId>();
  for (const { kind, id } of cluster.term.operands) if (kind === "value") ids.add(id);
  return [...ids]
    .filter((id) => readOnlyBy(graph, id, cluster.nodes))
    .map((id) => asLinear(graph, graph.producer(id)))
    .filter((linear) => linear !== null);
}

function mergeAll(graph: Graph): void {
  for (const node of graph.nodes()) {
    const map = graph.has(node) ? asMap(graph, node) : null;
    if (!map) continue;
    const cluster = clusterOf(graph, map);
    const bySource = groupBy(linearsOf(graph, cluster), prologueKey);
    const group = bySource.find((linears) => linears.length > 1);
    if (group) foldCluster(graph, cluster, group);
  }
}

/** Gate and up become a linear with two groups, whose epilogue is the gated product. */
export const mergeGateUp: Pass = {
  name: "mergeGateUp",
  reason:
    "one phase instead of three, and the gated product never leaves registers; before " +
    "mergeProjections, which would stack gate and up like any two projections",
  run: (program, table) => rewrite(program, table, mergeAll),
};
