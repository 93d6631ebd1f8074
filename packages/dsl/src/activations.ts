/** @file The expressions of the named elementwise functions. Pure. */
import type { BinaryOp, Expr } from "@mpk/ir";
import type { Activation } from "./tensor.ts";

export const arg = (index: number): Expr => ({ op: "arg", index });
export const constant = (value: number): Expr => ({ op: "const", value });
export const binary = (op: BinaryOp, x: Expr, y: Expr): Expr => ({ op, x, y });

const mul = (x: Expr, y: Expr): Expr => binary("mul", x, y);
const add = (x: Expr, y: Expr): Expr => binary("add", x, y);

/** x * (1 + inner) / 2, the form that both gelus share. */
const halfOnePlus = (x: Expr, inner: Expr): Expr =>
  mul(mul(constant(0.5), x), add(constant(1), inner));

/** Hendrycks & Gimpel, "Gaussian Error Linear Units", eq. 2; 0.044715 is theirs. */
function geluTanh(x: Expr): Expr {
  const cubic = add(x, mul(constant(0.044715), mul(x, mul(x, x))));
  return halfOnePlus(x, { op: "tanh", x: mul(constant(Math.sqrt(2 / Math.PI)), cubic) });
}

/** Each activation of x. */
export const activations = {
  silu: (x) => mul(x, { op: "sigmoid", x }),
  gelu: (x) => halfOnePlus(x, { op: "erf", x: mul(x, constant(Math.SQRT1_2)) }),
  geluTanh,
  relu: (x) => binary("max", x, constant(0)),
  sigmoid: (x) => ({ op: "sigmoid", x }),
  tanh: (x) => ({ op: "tanh", x }),
} as const satisfies Record<Activation, (x: Expr) => Expr>;
