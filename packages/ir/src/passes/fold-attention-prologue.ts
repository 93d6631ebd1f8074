/** @file Pass: norm and rotary embedding of queries and keys move into attention. */
import { sameJson, sameType } from "../describe.ts";
import type { Json, ValueId } from "../types.ts";
import { rewrite } from "./graph.ts";
import type { Graph, Node } from "./graph.ts";
import { asNorm, unshaped } from "./match.ts";
import type { NormView } from "./match.ts";
import type { Pass } from "./pass.ts";

/** An attention's inputs by role, where it has them. */
function roles(node: Node): { q: ValueId; k: ValueId; v: ValueId; positions: ValueId } | null {
  const [q, k, v, positions] = node.op.inputs;
  if (q === undefined || k === undefined || v === undefined || positions === undefined) return null;
  return { q, k, v, positions };
}

function isAttention(graph: Graph, node: Node): boolean {
  const { headDim, qkNorm, rope } = node.op.attrs;
  const known = headDim !== undefined && qkNorm !== undefined && rope !== undefined;
  return known && graph.traits(node).stateful;
}

/** The rotation behind a value: its input, positions and attributes. No trait tells rotations. */
function ropeOf(graph: Graph, id: ValueId): { x: ValueId; positions: ValueId; op: Node } | null {
  const op = graph.producer(unshaped(graph, id));
  const [x, positions] = op?.op.inputs ?? [];
  if (op?.op.kind !== "rope" || x === undefined || positions === undefined) return null;
  return { x, positions, op };
}

/** A value of the type that attention needs, with the reshapes before it left out. */
function plain(graph: Graph, id: ValueId, like: ValueId): ValueId | null {
  const { shape } = graph.typeOf(like);
  for (const candidate of [unshaped(graph, id), id]) {
    const type = graph.typeOf(candidate);
    if (sameType({ ...type, shape }, type)) return candidate;
  }
  return null;
}

function foldRope(graph: Graph, node: Node): Node {
  const role = roles(node);
  if (!role || node.op.attrs["rope"] !== null || node.op.attrs["qkNorm"] !== null) return node;
  const [q, k] = [ropeOf(graph, role.q), ropeOf(graph, role.k)];
  if (!q || !k || q.positions !== role.positions || k.positions !== role.positions) return node;
  const { attrs } = q.op.op;
  if (!sameJson(attrs, k.op.op.attrs)) return node;
  if (attrs["headDim"] !== node.op.attrs["headDim"]) return node;
  const [newQ, newK] = [plain(graph, q.x, role.q), plain(graph, k.x, role.k)];
  if (newQ === null || newK === null) return node;
  const inputs = [newQ, newK, ...node.op.inputs.slice(2)];
  return graph.change(node, { inputs, attrs: { ...node.op.attrs, rope: attrs } });
}

function headNorm(graph: Graph, id: ValueId, headDim: Json | undefined): NormView | null {
  const norm = asNorm(graph, graph.producer(unshaped(graph, id)));
  return norm?.kind === "rms" && norm.width === headDim ? norm : null;
}

function foldNorm(graph: Graph, node: Node): void {
  const role = roles(node);
  if (!role || node.op.attrs["qkNorm"] !== null) return;
  const { headDim } = node.op.attrs;
  const [q, k] = [headNorm(graph, role.q, headDim), headNorm(graph, role.k, headDim)];
  if (!q || !k || q.eps !== k.eps) return;
  const [newQ, newK] = [plain(graph, q.x, role.q), plain(graph, k.x, role.k)];
  if (newQ === null || newK === null) return;
  const inputs = [newQ, newK, ...node.op.inputs.slice(2, 4), ...q.gains, ...k.gains];
  graph.change(node, { inputs, attrs: { ...node.op.attrs, qkNorm: { eps: q.eps } } });
}

function foldAll(graph: Graph): void {
  for (const node of graph.nodes()) {
    if (isAttention(graph, node)) foldNorm(graph, foldRope(graph, node));
  }
}

/** Attention normalizes and turns the queries and keys that it reads. */
export const foldAttentionPrologue: Pass = {
  name: "foldAttentionPrologue",
  reason: "a query head's norm and rotation are a few numbers: no phase of their own",
  run: (program, table) => rewrite(program, table, foldAll),
};
