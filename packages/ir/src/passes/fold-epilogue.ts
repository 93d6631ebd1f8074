/** @file Pass: what is computed from a linear's result alone moves into its epilogue. */
import { exprToJson } from "../expr.ts";
import { clusterOf, foldCluster } from "./absorb.ts";
import type { Cluster } from "./absorb.ts";
import { rewrite } from "./graph.ts";
import type { Graph } from "./graph.ts";
import { asMap, fitsExpr } from "./match.ts";
import { linearsOf } from "./merge-gate-up.ts";
import type { Pass } from "./pass.ts";

function foldAll(graph: Graph): void {
  for (const node of graph.nodes()) {
    const map = graph.has(node) ? asMap(graph, node) : null;
    if (!map) continue;
    const cluster = clusterOf(graph, map);
    // The last linear: results of earlier ones are ready when it ends.
    const linears = linearsOf(graph, cluster).toSorted((a, b) => b.node.rank - a.node.rank);
    const folded = linears.some((linear) => foldCluster(graph, cluster, [linear]));
    if (!folded && cluster.nodes.size > 1) joinCluster(graph, cluster);
  }
}

/** A chain of pointwise ops becomes one. */
function joinCluster(graph: Graph, cluster: Cluster): void {
  const { root, nodes, term } = cluster;
  const inputs = term.operands.map((operand) => operand.id);
  const { shape } = graph.typeOf(root.result);
  if (!inputs.every((id) => fitsExpr(graph.typeOf(id), shape))) return;
  for (const node of nodes) graph.remove(node);
  graph.add({
    kind: "pointwise",
    inputs,
    attrs: { expr: exprToJson(term.expr), out: term.out },
    like: root.node,
    near: root.node,
    place: "at",
    outputs: [root.result],
  });
}

/** Bias, residual, gate, scale and other pointwise ops end the linear that feeds them. */
export const foldEpilogue: Pass = {
  name: "foldEpilogue",
  reason: "each pointwise op behind a linear would be a phase of its own, with a hand-off",
  run: (program, table) => rewrite(program, table, foldAll),
};
