/** @file Pass: ops that compute the same from the same values become one. */
import { rewrite } from "./graph.ts";
import type { Graph, Node } from "./graph.ts";
import type { Pass } from "./pass.ts";

function shareAll(graph: Graph): void {
  const seen = new Map<string, Node>();
  for (const candidate of graph.nodes()) {
    // Inputs change as earlier ops are shared: look the op up again by what it defines.
    const [first] = candidate.op.outputs;
    const node = first === undefined ? null : graph.producer(first);
    if (!node || graph.traits(node).stateful || graph.traits(node).effect) continue;
    const key = JSON.stringify([node.op.kind, node.op.inputs, sortedJson(node.op.attrs)]);
    const same = seen.get(key);
    if (!same) seen.set(key, node);
    else node.op.outputs.forEach((id, i) => graph.replaceUses(id, same.op.outputs[i] ?? id));
  }
}

/** Entries in the order of their keys, which says nothing. */
function sortedJson(attrs: Node["op"]["attrs"]): readonly unknown[] {
  return Object.entries(attrs).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Equal ops, not counting effects and state, are computed once. */
export const shareEqualOps: Pass = {
  name: "shareEqualOps",
  reason: "first, so that projections of one activation read one value, not equal casts of it",
  run: (program, table) => rewrite(program, table, shareAll),
};
