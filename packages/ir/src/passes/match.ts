/** @file Ops as passes see them, recognized by traits and attributes; null where one is not so. */
import { exprFromJson, exprToJson } from "../expr.ts";
import { sameShape } from "../describe.ts";
import type { Expr, Json, Op, TensorType, ValueId } from "../types.ts";
import type { Graph, Node } from "./graph.ts";

/** A contraction with its prologue and epilogue. */
export interface LinearView {
  readonly node: Node;
  readonly x: ValueId;
  readonly weights: readonly ValueId[];
  readonly norm: { readonly kind: "rms" | "layer"; readonly eps: number } | null;
  /** The norm's gain, and bias if it has one. */
  readonly gains: readonly ValueId[];
  readonly extras: readonly ValueId[];
  readonly round: "bf16" | null;
  readonly lastRow: boolean;
  readonly epilogue: Expr;
  readonly out: "f32" | "bf16";
  readonly result: ValueId;
}

const isFloat = (dtype: Json | undefined): dtype is "f32" | "bf16" =>
  dtype === "f32" || dtype === "bf16";

/** An op as a linear, or null. */
export function asLinear(graph: Graph, node: Node | null): LinearView | null {
  if (!node || !graph.traits(node).contraction) return null;
  const { groups, round, lastRow, out, epilogue } = node.op.attrs;
  const norm = readNorm(node.op.attrs["norm"]);
  const [x] = node.op.inputs;
  const [result] = node.op.outputs;
  if (typeof groups !== "number" || norm === undefined || typeof lastRow !== "boolean") return null;
  if ((round !== null && round !== "bf16") || !isFloat(out) || epilogue === undefined) return null;
  if (x === undefined || result === undefined) return null;
  const firstGain = 1 + groups;
  const firstExtra = firstGain + (norm === null ? 0 : norm.kind === "rms" ? 1 : 2);
  return {
    node,
    x,
    weights: node.op.inputs.slice(1, firstGain),
    norm,
    gains: node.op.inputs.slice(firstGain, firstExtra),
    extras: node.op.inputs.slice(firstExtra),
    round,
    lastRow,
    epilogue: exprFromJson(epilogue),
    out,
    result,
  };
}

function readNorm(json: Json | undefined): LinearView["norm"] | undefined {
  if (json === null) return null;
  if (typeof json !== "object" || !("kind" in json) || !("eps" in json)) return undefined;
  const { kind, eps } = json;
  if ((kind !== "rms" && kind !== "layer") || typeof eps !== "number") return undefined;
  return { kind, eps };
}

/** Inputs and attributes of a linear. */
export function linearOp(view: LinearView): Pick<Op, "inputs" | "attrs"> {
  const { x, weights, gains, extras, norm, round, lastRow, epilogue, out } = view;
  return {
    inputs: [x, ...weights, ...gains, ...extras],
    attrs: {
      groups: weights.length,
      norm,
      round,
      lastRow,
      epilogue: exprToJson(epilogue),
      out,
    },
  };
}

/** An op that computes an expression at every element: pointwise, or a cast. */
export interface MapView {
  readonly node: Node;
  readonly inputs: readonly ValueId[];
  readonly expr: Expr;
  readonly out: "f32" | "bf16";
  readonly result: ValueId;
}

/** An op as an expression at every element, of numbers only, or null. */
export function asMap(graph: Graph, node: Node | null): MapView | null {
  const cast = asCast(graph, node);
  if (cast) {
    const { result, to: out } = cast;
    return { node: cast.node, inputs: [cast.x], expr: { op: "arg", index: 0 }, out, result };
  }
  if (!node || !graph.traits(node).pointwise) return null;
  const { expr, out } = node.op.attrs;
  const [result] = node.op.outputs;
  if (expr === undefined || !isFloat(out) || result === undefined) return null;
  const { inputs } = node.op;
  if (!inputs.every((id) => isFloat(graph.typeOf(id).dtype))) return null;
  return { node, inputs, expr: exprFromJson(expr), out, result };
}

/** A cast between floating-point formats. */
export interface CastView {
  readonly node: Node;
  readonly x: ValueId;
  readonly to: "f32" | "bf16";
  readonly result: ValueId;
}

/** An op as a cast between floating-point formats, or null. */
export function asCast(graph: Graph, node: Node | null): CastView | null {
  if (!node || !graph.traits(node).cast) return null;
  const { to } = node.op.attrs;
  const [x] = node.op.inputs;
  const [result] = node.op.outputs;
  if (!isFloat(to) || x === undefined || result === undefined) return null;
  return isFloat(graph.typeOf(x).dtype) ? { node, x, to, result } : null;
}

/** A norm of runs of columns. */
export interface NormView {
  readonly x: ValueId;
  readonly kind: "rms" | "layer";
  readonly gains: readonly ValueId[];
  readonly eps: number;
  readonly width: number;
}

/** An op as a norm with a gain (rms), or a gain and a bias (layer), or null. */
export function asNorm(graph: Graph, node: Node | null): NormView | null {
  if (!node || !graph.traits(node).rowNorm) return null;
  const { eps, width } = node.op.attrs;
  const [x, ...gains] = node.op.inputs;
  if (typeof eps !== "number" || typeof width !== "number" || x === undefined) return null;
  if (gains.length < 1 || gains.length > 2) return null;
  return { x, kind: gains.length === 1 ? "rms" : "layer", gains, eps, width };
}

/** The input of a view of the last row, or null: the view that drops the token dim. */
export function lastRowInput(graph: Graph, node: Node | null): ValueId | null {
  if (!node || !graph.traits(node).view) return null;
  const [x] = node.op.inputs;
  const [result] = node.op.outputs;
  if (x === undefined || result === undefined) return null;
  const [from, to] = [graph.typeOf(x).shape, graph.typeOf(result).shape];
  return from[0] === "T" && to[0] === 1 && sameShape(from.slice(1), to.slice(1)) ? x : null;
}

/** A value without the reshapes around it. */
export function unshaped(graph: Graph, id: ValueId): ValueId {
  const node = graph.producer(id);
  const [x] = node?.op.inputs ?? [];
  if (!node || x === undefined || !graph.traits(node).view) return id;
  return "shape" in node.op.attrs ? unshaped(graph, x) : id;
}

/** Whether an operand may enter an expression over `shape`: of that shape, [N] or [1]. */
export function fitsExpr(type: TensorType, shape: TensorType["shape"]): boolean {
  if (!isFloat(type.dtype)) return false;
  if (sameShape(type.shape, shape)) return true;
  const [columns] = type.shape;
  const isVector = type.shape.length === 1 && columns !== "T";
  return isVector && (columns === shape[1] || columns === 1);
}
