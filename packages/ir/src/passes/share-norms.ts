/** @file Pass: what linears multiply in steps of many tokens is normed and rounded once, for all SMs. */
import { exprToJson } from "../expr.ts";
import { parseExpr } from "../expr-text.ts";
import type { ValueId } from "../types.ts";
import { rewrite } from "./graph.ts";
import type { Graph, NewOp } from "./graph.ts";
import { asLinear, linearOp } from "./match.ts";
import type { LinearView } from "./match.ts";
import type { Pass } from "./pass.ts";

/** Tokens that a step may have before its rows are too many for each SM to norm them itself. */
export const fewTokens = 8;

/** Columns whose squares one task sums: of 64 tokens' rows what one latency brings. */
const squaresBlock = 64;
/** Columns that rows must be multiples of to be copied as they are. */
const pieceColumns = 8;

const timesGain = exprToJson(parseExpr("a0 * a1"));

/** Values made so far, by what they are made of. */
type Made = Map<string, ValueId>;

function rowsOnce(graph: Graph, linear: LinearView, made: Made): void {
  const { node, x, norm, gains, round, lastRow } = linear;
  const { dtype, shape } = graph.typeOf(x);
  const [rows, columns] = shape;
  if (lastRow || round !== "bf16" || rows !== "T" || shape.length !== 2) return;
  if (Number(columns) % pieceColumns !== 0) return;
  const once = (kind: string, inputs: readonly ValueId[], attrs: NewOp["attrs"]): ValueId => {
    const key = JSON.stringify([kind, inputs, attrs]);
    const [id] = made.has(key) ? [made.get(key)] :
      graph.add({ kind, inputs, attrs, like: node, near: node, place: "before" });
    if (id === undefined) throw new RangeError(`${kind} has no result`);
    made.set(key, id);
    return id;
  };
  const [gain] = gains;
  if (norm === null && dtype === "f32") {
    const rounded = once("cast", [x], { to: "bf16" });
    graph.change(node, linearOp({ ...linear, x: rounded }));
  } else if (norm?.kind === "rms" && gain !== undefined) {
    const scaled = once("pointwise", [x, gain], { expr: timesGain, out: "bf16" });
    const squares = once("blockSquares", [x], { block: squaresBlock });
    const { inputs, attrs } = linearOp({ ...linear, x: scaled, gains: [squares] });
    graph.change(node, { inputs, attrs: { ...attrs, norm: { kind: "squares", eps: norm.eps } } });
  }
}

/**
 * Rows are multiplied by the gain and rounded, and their squares summed, on many SMs; the norm scales
 * products. Rounded before that and not after it: what linears give differs by as much as bf16 does.
 */
export const shareNorms: Pass = {
  name: "shareNorms",
  reason:
    "each SM would read all rows of a step twice, in float32, to norm them for itself; that takes " +
    "longer than a hand-off where there are many, and such rows cannot be copied as they are",
  run: (program, table) =>
    rewrite(program, table, (graph) => {
      const made: Made = new Map();
      for (const node of graph.nodes()) {
        const linear = asLinear(graph, node);
        if (linear) rowsOnce(graph, linear, made);
      }
    }),
};
