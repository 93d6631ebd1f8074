/** @file Random expressions for the laws. */
import fc from "fast-check";
import type { BinaryOp, CompareOp, Expr, UnaryOp } from "../src/index.ts";

const unary: readonly UnaryOp[] = [
  "neg", "abs", "exp", "log", "sqrt", "rsqrt", "tanh", "sigmoid", "erf", "sin", "cos", "floor",
  "ceil",
];
const binary: readonly BinaryOp[] = ["add", "sub", "mul", "div", "min", "max", "pow"];
const compare: readonly CompareOp[] = ["lt", "le", "gt", "ge", "eq", "ne"];

/** Expressions over `argCount` arguments, every node kind included. */
export function arbitraryExpr(argCount: number): fc.Arbitrary<Expr> {
  const leaves: fc.Arbitrary<Expr>[] = [
    fc.double({ noNaN: true, noDefaultInfinity: true })
      // JSON has no negative zero.
      .map((value): Expr => ({ op: "const", value: value === 0 ? 0 : value })),
  ];
  if (argCount > 0) {
    leaves.push(fc.nat(argCount - 1).map((index): Expr => ({ op: "arg", index })));
  }
  return fc.letrec<{ expr: Expr }>((tie) => ({
    expr: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      ...leaves,
      fc.record({ op: fc.constantFrom(...unary), x: tie("expr") }),
      fc.record({ op: fc.constantFrom(...binary), x: tie("expr"), y: tie("expr") }),
      fc.record({ op: fc.constantFrom(...compare), x: tie("expr"), y: tie("expr") }),
      fc.record({
        op: fc.constant("select" as const),
        cond: tie("expr"),
        x: tie("expr"),
        y: tie("expr"),
      }),
      fc.record({
        op: fc.constant("round" as const),
        to: fc.constantFrom("f32", "bf16", "i32"),
        x: tie("expr"),
      }),
    ),
  })).expr;
}
