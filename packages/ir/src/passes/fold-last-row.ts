/** @file Pass: a linear of which only the last row is read computes that row alone. */
import type { ValueId } from "../types.ts";
import { readOnlyBy } from "./absorb.ts";
import { rewrite } from "./graph.ts";
import type { Graph, Node } from "./graph.ts";
import { asLinear, lastRowInput, linearOp } from "./match.ts";
import type { LinearView } from "./match.ts";
import type { Pass } from "./pass.ts";

/** A linear of a last row takes all rows and picks. */
function foldInput(graph: Graph, node: Node): void {
  const linear = asLinear(graph, node);
  const x = linear && !linear.lastRow ? lastRowInput(graph, graph.producer(linear.x)) : null;
  if (linear && x !== null) graph.change(node, linearOp({ ...linear, x, lastRow: true }));
}

/** The last row of a linear's result: the linear computes no other. */
function foldResult(graph: Graph, view: Node, linear: LinearView): void {
  const [result] = view.op.outputs;
  if (linear.lastRow || result === undefined) return;
  const { kind, attrs } = view.op;
  const lastRowOf = (id: ValueId): ValueId => {
    if (graph.typeOf(id).shape[0] !== "T") return id;
    const inputs = [id];
    const place = "before";
    return graph.add({ kind, inputs, attrs, like: view, near: linear.node, place })[0] ?? id;
  };
  const folded = { ...linear, extras: linear.extras.map(lastRowOf), lastRow: true };
  graph.remove(view);
  graph.remove(linear.node);
  const { node } = linear;
  const place = { like: node, near: node, place: "at", outputs: [result] } as const;
  graph.add({ kind: node.op.kind, ...linearOp(folded), ...place });
}

/** The linear whose result only this view of its last row reads. */
function linearBehind(graph: Graph, view: Node): LinearView | null {
  const x = lastRowInput(graph, view);
  const onlyReader = x !== null && readOnlyBy(graph, x, new Set([view]));
  return onlyReader ? asLinear(graph, graph.producer(x)) : null;
}

function foldAll(graph: Graph): void {
  for (const node of graph.nodes()) foldInput(graph, node);
  graph.sweep();
  // Last first: a linear that computes one row asks for one row of its extras.
  for (let found = true; found;) {
    const views = graph.nodes().toReversed();
    const view = views.find((node) => linearBehind(graph, node)?.lastRow === false);
    const linear = view ? linearBehind(graph, view) : null;
    found = linear !== null;
    if (view && linear) foldResult(graph, view, linear);
  }
}

/** `lastRow` before or after a linear becomes the linear's `lastRow`. */
export const foldLastRow: Pass = {
  name: "foldLastRow",
  reason: "logits are needed for the step's last token only",
  run: (program, table) => rewrite(program, table, foldAll),
};
