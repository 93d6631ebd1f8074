/** @file Pass: attention gives bf16 itself where all that reads it is a cast to that. */
import { rewrite } from "./graph.ts";
import type { Graph } from "./graph.ts";
import { asCast } from "./match.ts";
import type { Pass } from "./pass.ts";

function roundAll(graph: Graph): void {
  for (const node of graph.nodes()) {
    const cast = asCast(graph, node);
    const attention = cast && graph.producer(cast.x);
    // The name tells this op from others with the same traits: its parts add up what they give.
    if (cast?.to !== "bf16" || attention?.op.kind !== "attention") continue;
    if (graph.users(cast.x).length > 1 || graph.isOutput(cast.x)) continue;
    const { inputs, attrs, states } = attention.op;
    const rounded = graph.add({
      kind: "attention", inputs, attrs: { ...attrs, out: "bf16" }, states,
      like: attention, near: attention, place: "at",
    });
    graph.remove(attention);
    rounded.forEach((id) => graph.replaceUses(cast.result, id));
  }
}

/** One hand-off less, and half the bytes: attention's own stores round. */
export const roundAttended: Pass = {
  name: "roundAttended",
  reason: "a cast by itself is one more hand-off between attention and the linear behind it",
  run: (program, table) => rewrite(program, table, roundAll),
};
