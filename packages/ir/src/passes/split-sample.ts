/** @file Pass: the choice of a token begins with block maxima, on every SM. */
import { rewrite } from "./graph.ts";
import type { Graph } from "./graph.ts";
import type { Pass } from "./pass.ts";

/** Logits per block: one SM's reading of them takes less than a hand-off. */
const blockColumns = 512;

function splitAll(graph: Graph): void {
  for (const node of graph.nodes()) {
    const [logits, maxima] = node.op.inputs;
    // The trait tells effects, the name that this one chooses a token.
    if (!graph.traits(node).effect || node.op.kind !== "sample") continue;
    if (logits === undefined || maxima !== undefined) continue;
    const attrs = { block: blockColumns };
    const place = { like: node, near: node, place: "before" } as const;
    const pairs = graph.add({ kind: "blockMax", inputs: [logits], attrs, ...place });
    graph.change(node, { inputs: [logits, ...pairs] });
  }
}

/** `sample` becomes `blockMax`, spread over all SMs, and a `sample` of few numbers. */
export const splitSample: Pass = {
  name: "splitSample",
  reason: "one SM alone would read the whole vocabulary while the others wait",
  run: (program, table) => rewrite(program, table, splitAll),
};
