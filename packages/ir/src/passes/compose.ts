/** @file Expressions over values and products: how ops are substituted into each other. Pure. */
import { exprSize, replaceArgs } from "../expr.ts";
import type { Expr, ValueId } from "../types.ts";
import type { LinearView, MapView } from "./match.ts";

/** What an argument stands for: a value, or x's product with a weight. */
export interface Operand {
  readonly kind: "value" | "product";
  readonly id: ValueId;
}

/** An expression, what its arguments stand for, and the format of its result. */
export interface Term {
  readonly operands: readonly Operand[];
  readonly expr: Expr;
  readonly out: "f32" | "bf16";
}

// Beyond this, kernel text and registers cost more than a hand-off saves.
const maxTermSize = 256;

const value = (id: ValueId): Operand => ({ kind: "value", id });

/** A pointwise op or a cast as a term. */
export function mapTerm(map: MapView): Term {
  return { operands: map.inputs.map(value), expr: map.expr, out: map.out };
}

/** A linear as a term over its products and extras. */
export function linearTerm(linear: LinearView): Term {
  const products = linear.weights.map((id): Operand => ({ kind: "product", id }));
  const operands = [...products, ...linear.extras.map(value)];
  return { operands, expr: linear.epilogue, out: linear.out };
}

/** A term's value as others read it: rounded where its format is narrower than float32. */
function rounded(term: Term): Expr {
  if (term.out === "f32") return term.expr;
  if (term.expr.op === "round" && term.expr.to === "bf16") return term.expr;
  return { op: "round", to: term.out, x: term.expr };
}

/**
 * `outer` with the value `id` computed in place by `inner`; equal operands become one argument.
 * Null where the result would be too large.
 */
export function inline(outer: Term, id: ValueId, inner: Term): Term | null {
  const operands: Operand[] = [];
  const indexOf = (operand: Operand): number => {
    const found = operands.findIndex((o) => o.kind === operand.kind && o.id === operand.id);
    return found >= 0 ? found : operands.push(operand) - 1;
  };
  const renamed = (term: Term, replace: (operand: Operand) => Expr, expr: Expr): Expr =>
    replaceArgs(expr, (index) => {
      const operand = term.operands[index];
      if (!operand) throw new RangeError(`argument ${index} stands for nothing`);
      return replace(operand);
    });
  const asArg = (operand: Operand): Expr => ({ op: "arg", index: indexOf(operand) });
  const isReplaced = (operand: Operand): boolean => operand.kind === "value" && operand.id === id;
  // Keeps the order of operands: the inner ones stand where the replaced one stood.
  for (const operand of outer.operands) {
    for (const kept of isReplaced(operand) ? inner.operands : [operand]) indexOf(kept);
  }
  const innerExpr = renamed(inner, asArg, rounded(inner));
  const expr = renamed(outer, (o) => (isReplaced(o) ? innerExpr : asArg(o)), outer.expr);
  return exprSize(expr) > maxTermSize ? null : { operands, expr, out: outer.out };
}

/** Items by key, in the order of first appearance. */
export function groupBy<E>(
  items: readonly E[],
  keyOf: (item: E) => string,
): readonly (readonly E[])[] {
  const groups = new Map<string, E[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item)) ?? [];
    groups.set(keyOf(item), group);
    group.push(item);
  }
  return [...groups.values()];
}

/** A term's products first, then its values: the argument order of a linear's epilogue. */
export function productsFirst(term: Term): {
  readonly weights: readonly ValueId[];
  readonly extras: readonly ValueId[];
  readonly epilogue: Expr;
} {
  const products = term.operands.filter((operand) => operand.kind === "product");
  const values = term.operands.filter((operand) => operand.kind === "value");
  const order = [...products, ...values];
  const epilogue = replaceArgs(term.expr, (index) => ({
    op: "arg",
    index: order.findIndex((operand) => operand === term.operands[index]),
  }));
  return { weights: products.map((o) => o.id), extras: values.map((o) => o.id), epilogue };
}
