/** @file Substitutes pointwise ops backwards: what one op computes from its operands alone. */
import { sameShape } from "../describe.ts";
import type { ValueId } from "../types.ts";
import { inline, linearTerm, mapTerm, productsFirst } from "./compose.ts";
import type { Term } from "./compose.ts";
import { asMap, fitsExpr, linearOp } from "./match.ts";
import type { LinearView, MapView } from "./match.ts";
import type { Graph, Node } from "./graph.ts";

/** A pointwise op with the pointwise ops before it that nobody else reads. */
export interface Cluster {
  readonly root: MapView;
  /** The root and all ops substituted into it. */
  readonly nodes: ReadonlySet<Node>;
  readonly term: Term;
}

/** Whether nobody but `nodes` reads the value. */
export function readOnlyBy(graph: Graph, id: ValueId, nodes: ReadonlySet<Node>): boolean {
  return !graph.isOutput(id) && graph.users(id).every((user) => nodes.has(user));
}

/** The largest cluster that ends in `root`. */
export function clusterOf(graph: Graph, root: MapView): Cluster {
  const { shape } = graph.typeOf(root.result);
  const nodes = new Set([root.node]);
  let term = mapTerm(root);
  for (let grown = true; grown;) {
    grown = false;
    for (const { kind, id } of term.operands) {
      const map = kind === "value" ? asMap(graph, graph.producer(id)) : null;
      if (!map || nodes.has(map.node) || !sameShape(graph.typeOf(id).shape, shape)) continue;
      const larger = readOnlyBy(graph, id, nodes) ? inline(term, id, mapTerm(map)) : null;
      if (!larger) continue;
      [term, grown] = [larger, true];
      nodes.add(map.node);
      break;
    }
  }
  return { root, nodes, term };
}

/**
 * Puts a cluster behind one or several linears of the same x: one linear whose epilogue is the
 * cluster's expression over their products. False where shapes or sizes do not allow it.
 */
export function foldCluster(
  graph: Graph,
  cluster: Cluster,
  linears: readonly LinearView[],
): boolean {
  const [first] = linears;
  const folded = first ? foldedLinear(graph, cluster, linears) : null;
  if (!first || !folded) return false;
  for (const node of cluster.nodes) graph.remove(node);
  for (const linear of linears) graph.remove(linear.node);
  const { kind } = first.node.op;
  const [like, near] = [first.node, cluster.root.node];
  const outputs = [cluster.root.result];
  graph.add({ kind, ...linearOp(folded), like, near, place: "at", outputs });
  return true;
}

function foldedLinear(
  graph: Graph,
  cluster: Cluster,
  linears: readonly LinearView[],
): LinearView | null {
  const { root } = cluster;
  const { shape } = graph.typeOf(root.result);
  let term: Term | null = cluster.term;
  for (const linear of linears) {
    if (!sameShape(graph.typeOf(linear.result).shape, shape)) return null;
    term = term && inline(term, linear.result, linearTerm(linear));
  }
  const [first] = linears;
  if (!term || !first) return null;
  const { weights, extras, epilogue } = productsFirst(term);
  const groupsFit = [1, 2, 4, 8].includes(weights.length);
  const extrasFit = extras.every((id) => fitsExpr(graph.typeOf(id), shape));
  return groupsFit && extrasFit ? { ...first, weights, extras, epilogue, out: root.out } : null;
}
