/** @file Pass: linears that read the same x become one, their weights stacked along N. */
import type { Expr, TensorType, ValueId } from "../types.ts";
import { exprToJson } from "../expr.ts";
import { sameShape } from "../describe.ts";
import { groupBy, inline, linearTerm, mapTerm, productsFirst } from "./compose.ts";
import type { Term } from "./compose.ts";
import { rewrite } from "./graph.ts";
import type { Graph, Node } from "./graph.ts";
import { asLinear, asMap, linearOp } from "./match.ts";
import type { LinearView } from "./match.ts";
import { prologueKey } from "./merge-gate-up.ts";
import type { Pass } from "./pass.ts";

/** A linear with some of the pointwise ops that follow it, extras being vectors of weights. */
interface Stage {
  readonly result: ValueId;
  readonly weight: ValueId;
  readonly extras: readonly ValueId[];
  readonly epilogue: Expr;
  readonly out: "f32" | "bf16";
  /** Ops beyond the linear that the stage replaces. */
  readonly nodes: readonly Node[];
}

interface Candidate {
  readonly linear: LinearView;
  /** From the linear alone to the longest chain. */
  readonly stages: readonly Stage[];
}

function candidateOf(graph: Graph, node: Node): Candidate | null {
  const linear = asLinear(graph, node);
  if (!linear || linear.weights.length !== 1) return null;
  const stages: Stage[] = [];
  const nodes: Node[] = [];
  let result = linear.result;
  let term: Term | null = linearTerm(linear);
  for (;;) {
    const stage = stageOf(graph, term, result, nodes);
    if (!stage) break;
    stages.push(stage);
    const [user, ...others] = graph.users(result);
    const map = user && others.length === 0 && !graph.isOutput(result) ? asMap(graph, user) : null;
    if (!map) break;
    term = inline(mapTerm(map), result, term);
    result = map.result;
    if (!term) break;
    nodes.push(map.node);
  }
  return stages.length > 0 ? { linear, stages } : null;
}

function stageOf(
  graph: Graph,
  term: Term,
  result: ValueId,
  nodes: readonly Node[],
): Stage | null {
  const { weights, extras, epilogue } = productsFirst(term);
  const [weight] = weights;
  if (weights.length !== 1 || weight === undefined) return null;
  const [rows, columns] = [graph.typeOf(weight).shape[0] ?? 0, graph.typeOf(result).shape];
  const stackable = (id: ValueId): boolean =>
    graph.value(id).origin.kind === "weight" && sameShape(graph.typeOf(id).shape, [rows]);
  if (columns.length !== 2 || !extras.every(stackable)) return null;
  return { result, weight, extras, epilogue, out: term.out, nodes: [...nodes] };
}

/** What must agree for stages of one x to be stacked. */
function stageKey(graph: Graph, stage: Stage | undefined): string {
  if (!stage) return "";
  const dtypes = [stage.weight, ...stage.extras].map((id) => graph.typeOf(id).dtype);
  return JSON.stringify([exprToJson(stage.epilogue), stage.out, dtypes]);
}

/** The first stage that holds all of a candidate's biases. */
function biasDepth(candidate: Candidate): number {
  const most = candidate.stages.at(-1)?.extras.length ?? 0;
  return candidate.stages.findIndex((stage) => stage.extras.length === most);
}

function mergeAll(graph: Graph): void {
  const candidates = graph.nodes()
    .map((node) => candidateOf(graph, node))
    .filter((candidate) => candidate !== null);
  // Those with a bias apart from those without: a bias cannot be stacked on nothing.
  const groups = groupBy(candidates, (candidate) => JSON.stringify([
    prologueKey(candidate.linear),
    biasDepth(candidate),
    stageKey(graph, candidate.stages[biasDepth(candidate)]),
  ]));
  for (const group of groups) if (group.length > 1) mergeGroup(graph, group);
}

/** Merges as far along the chains as all of them agree. */
function mergeGroup(graph: Graph, group: readonly Candidate[]): void {
  const depths = Math.min(...group.map((candidate) => candidate.stages.length));
  const agree = (depth: number): boolean =>
    new Set(group.map((candidate) => stageKey(graph, candidate.stages[depth]))).size === 1;
  let depth = depths - 1;
  while (depth > 0 && !agree(depth)) depth--;
  const stages = group.map((candidate) => candidate.stages[depth]).filter((stage) => !!stage);
  const [first] = group;
  const [stage] = stages;
  if (!first || !stage) return;
  const weight = stack(graph, stages.map((s) => s.weight));
  const extras = stage.extras.map((_, i) => stack(graph, stages.map((s) => s.extras[i] ?? -1)));
  const { epilogue, out } = stage;
  const merged = { ...first.linear, weights: [weight], extras, epilogue, out };
  for (const { linear } of group) graph.remove(linear.node);
  for (const node of stages.flatMap((s) => s.nodes)) graph.remove(node);
  const like = first.linear.node;
  const { kind } = like.op;
  const [result] = graph.add({ kind, ...linearOp(merged), like, near: like, place: "at" });
  if (result !== undefined) cut(graph, result, stages, like);
}

/** The merged result's columns as the results that were there before. */
function cut(graph: Graph, merged: ValueId, stages: readonly Stage[], like: Node): void {
  let start = 0;
  for (const { result } of stages) {
    const size = Number(graph.typeOf(result).shape[1]);
    const place = { like, near: like, place: "after", outputs: [result] } as const;
    graph.add({ kind: "slice", inputs: [merged], attrs: { start, size }, ...place });
    start += size;
  }
}

/** Weights stacked along axis 0: their part lists one after the other. */
function stack(graph: Graph, weights: readonly ValueId[]): ValueId {
  const types = weights.map((id) => graph.typeOf(id));
  const rows = types.reduce((sum, type) => sum + Number(type.shape[0]), 0);
  const inner = types[0]?.shape.slice(1) ?? [];
  const type: TensorType = { dtype: types[0]?.dtype ?? "bf16", shape: [rows, ...inner] };
  const parts = weights.flatMap((id) => graph.partsOf(id));
  return graph.addWeight(joinedName(weights.map((id) => graph.value(id).name)), type, parts);
}

/** `a.q.weight` and `a.k.weight` give `a.q+k.weight`. */
export function joinedName(names: readonly string[]): string {
  const split = names.map((name) => name.split(/(?<=[._])|(?=[._])/));
  const [first = []] = split;
  const agree = (at: (parts: readonly string[]) => string | undefined): boolean =>
    split.every((parts) => at(parts) !== undefined && at(parts) === at(first));
  const shortest = Math.min(...split.map((parts) => parts.length));
  let head = 0;
  while (head < shortest && agree((parts) => parts[head])) head++;
  let tail = 0;
  while (tail < shortest - head && agree((parts) => parts.at(-1 - tail))) tail++;
  const middles = split.map((parts) => parts.slice(head, parts.length - tail).join(""));
  return [...first.slice(0, head), middles.join("+"), ...first.slice(first.length - tail)].join("");
}

/** Query, key and value become one linear; their results become slices of its result. */
export const mergeProjections: Pass = {
  name: "mergeProjections",
  reason: "one phase instead of three, with a weight stream long enough for every SM",
  run: (program, table) => rewrite(program, table, mergeAll),
};
