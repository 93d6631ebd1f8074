/** @file Pass: attention in two ops, over parts of the context on many SMs and then their merge. */
import { rewrite } from "./graph.ts";
import type { Graph, Node } from "./graph.ts";
import type { Pass } from "./pass.ts";

/** More splits than this make the merge longer than the parts. */
const mostSplits = 64;
/** Keys that a split takes in at once: more splits than units of the longest context would idle. */
const unitKeys = 32;

/** Splits of a key head's context: as many as give every SM about one part. */
function splitsFor(kvHeads: number, sms: number, maxContext: number): number {
  const units = Math.ceil(maxContext / unitKeys);
  return Math.max(1, Math.min(Math.floor(sms / kvHeads), units, mostSplits));
}

function splitOne(graph: Graph, node: Node, sms: number, maxContext: number): void {
  const { heads, kvHeads, headDim } = node.op.attrs;
  const { inputs, states, outputs, attrs: own } = node.op;
  if (heads === undefined || typeof kvHeads !== "number" || headDim === undefined) return;
  const splits = splitsFor(kvHeads, sms, maxContext);
  const attrs = { ...own, splits };
  const part = { kind: "attentionPart", inputs, attrs, states, like: node } as const;
  const parts = graph.add({ ...part, near: node, place: "before" });
  graph.remove(node);
  graph.add({
    kind: "attentionMerge", inputs: parts, attrs: { heads, kvHeads, headDim, splits },
    like: node, near: node, place: "at", outputs,
  });
}

/**
 * Every `attention` becomes `attentionPart`, about one task for each of `sms` SMs, and
 * `attentionMerge`. For long contexts and many tokens a step: with few keys the merge's hand-off
 * costs more than the parts save.
 */
export const splitAttention = (sms: number): Pass => ({
  name: "splitAttention",
  reason: "a query head on one SM reads long contexts slowly, and each key head once per query head",
  run: (program, table) =>
    rewrite(program, table, (graph) => {
      // The name tells this op from others with the same traits; its parts have one of their own.
      const nodes = graph.nodes().filter((node) => node.op.kind === "attention");
      for (const node of nodes) splitOne(graph, node, sms, program.limits.maxContext);
    }),
});
