/** @file Pass: casts and norms move into the prologue of the linears that read them. */
import type { ValueId } from "../types.ts";
import { readOnlyBy } from "./absorb.ts";
import { rewrite } from "./graph.ts";
import type { Graph } from "./graph.ts";
import { asCast, asLinear, asMap, asNorm, lastRowInput, linearOp } from "./match.ts";
import type { CastView, LinearView } from "./match.ts";
import type { Pass } from "./pass.ts";

type Prologue = Pick<LinearView, "x" | "norm" | "gains" | "round">;

/** The linear's prologue with the op that defines `id` in it, reading that op's input. */
function withProducer(graph: Graph, linear: LinearView, id: ValueId): Prologue | null {
  const { norm, gains, round } = linear;
  const producer = graph.producer(id);
  const cast = asCast(graph, producer);
  // A widening cast changes nothing; one to bf16 is the rounding before the products, and may
  // not move before a norm.
  if (cast?.to === "f32") return { x: cast.x, norm, gains, round };
  if (cast && norm === null && !endsProducer(graph, cast)) {
    return { x: cast.x, norm, gains, round: "bf16" };
  }
  const found = norm === null ? asNorm(graph, producer) : null;
  if (!found || found.width !== graph.typeOf(id).shape[1]) return null;
  const { x, kind, eps } = found;
  return { x, norm: { kind, eps }, gains: found.gains, round };
}

/** Whether a cast can end the op before it, which then writes half the bytes: `foldEpilogue`. */
function endsProducer(graph: Graph, cast: CastView): boolean {
  const before = graph.producer(cast.x);
  const computes = asLinear(graph, before) ?? asMap(graph, before);
  return computes !== null && readOnlyBy(graph, cast.x, new Set([cast.node]));
}

/** One step into the prologue; false where there is none. */
function foldOnce(graph: Graph, linear: LinearView): boolean {
  const direct = withProducer(graph, linear, linear.x);
  if (direct) {
    graph.change(linear.node, linearOp({ ...linear, ...direct }));
    return true;
  }
  // The last row of a norm is the norm of the last row: the view goes first.
  const view = graph.producer(linear.x);
  const whole = lastRowInput(graph, view);
  const behind = whole === null ? null : withProducer(graph, linear, whole);
  if (!view || !behind) return false;
  const { kind, attrs } = view.op;
  const inputs = [behind.x];
  const [x] = graph.add({ kind, inputs, attrs, like: view, near: view, place: "before" });
  if (x !== undefined) graph.change(linear.node, linearOp({ ...linear, ...behind, x }));
  return x !== undefined;
}

function foldAll(graph: Graph): void {
  for (const node of graph.nodes()) {
    let linear = asLinear(graph, node);
    while (linear && foldOnce(graph, linear)) {
      linear = asLinear(graph, graph.producer(linear.result));
    }
  }
}

/** Casts to bf16 and norms of whole rows are recomputed by every linear that reads them. */
export const foldCastAndNorm: Pass = {
  name: "foldCastAndNorm",
  reason:
    "every SM reads the whole row anyway, so that recomputing it is cheaper than a hand-off; " +
    "after the merges, which compare what linears read",
  run: (program, table) => rewrite(program, table, foldAll),
};
