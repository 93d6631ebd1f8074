/** @file Random expressions and programs for the laws. */
import fc from "fast-check";
import { exprToJson } from "../src/index.ts";
import type {
  BinaryOp, CompareOp, Expr, Json, Op, Program, State, UnaryOp, Value, ValueOrigin, Weight,
} from "../src/index.ts";

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

const text = fc.oneof(fc.stringMatching(/^[a-z_][a-z0-9_.]{0,8}$/), fc.string({ maxLength: 6 }));

const json: fc.Arbitrary<Json> = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<Json>,
  arbitraryExpr(4).map(exprToJson),
  arbitraryExpr(2).map((expr) => ({ nested: exprToJson(expr), op: "add" })),
).map((value) => JSON.parse(JSON.stringify(value, (_, x) => (x === 0 ? 0 : x))) as Json);

const attrs = fc.dictionary(text.filter((key) => key !== "__proto__"), json, { maxKeys: 3 });
const dim = fc.integer({ min: 1, max: 99 });
const dtype = fc.constantFrom("f32" as const, "bf16" as const, "i32" as const);
const type = fc.record({ dtype, shape: fc.array(dim, { maxLength: 3 }) });
const parts = fc.array(fc.record({ tensor: text, rows: dim }), { minLength: 1, maxLength: 3 });
const site = fc.record({ file: text, line: dim, column: dim });

/**
 * Programs of arbitrary names, types, attributes and places. Structurally sound (ids, names,
 * order of weights and states), but their ops mean nothing.
 */
export const arbitraryProgram: fc.Arbitrary<Program> = fc.gen().map((g): Program => {
  const values: Value[] = [];
  const given = g(() => fc.array(fc.constantFrom("input", "weight", "state"), { maxLength: 6 }));
  const outputCounts = g(() => fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 5 }));
  const total = given.length + outputCounts.reduce((a, b) => a + b, 0);
  const names = g(() =>
    fc.uniqueArray(text, { minLength: total, maxLength: total }));
  // Some programs number values in another order than they appear in.
  const order = names.map((_, i) => i);
  const swapped = g(() => fc.boolean()) ? order.toReversed() : order;
  const add = (origin: ValueOrigin): number => {
    const id = swapped[values.length] ?? 0;
    values.push({ id, name: names[values.length] ?? "", type: g(() => type), origin });
    return id;
  };
  const weights: Weight[] = [];
  const states: State[] = [];
  for (const kind of given) {
    if (kind === "input") {
      add({ kind, input: g(() => fc.constantFrom("ids" as const, "positions" as const)) });
    } else if (kind === "weight") {
      weights.push({ value: add({ kind }), parts: g(() => parts) });
    } else {
      const size = { kvHeads: g(() => dim), headDim: g(() => dim) };
      states.push({ value: add({ kind }), kind: "kv", ...size });
    }
  }
  const someIds = (): number[] => g(() => fc.subarray(values.map((v) => v.id)));
  const ops = outputCounts.map((count): Op => {
    const [inputs, opStates] = [someIds(), someIds()];
    const outputs = Array.from({ length: count }, () => add({ kind: "op" }));
    return {
      kind: g(() => text),
      inputs,
      outputs,
      states: opStates,
      attrs: g(() => attrs),
      scope: g(() => text),
      site: g(() => fc.option(site)),
    };
  });
  const results = someIds();
  const keys = g(() => fc.uniqueArray(text.filter((key) => key !== "__proto__"), {
    minLength: results.length,
    maxLength: results.length,
  }));
  const byValue = (a: { value: number }, b: { value: number }): number => a.value - b.value;
  return {
    name: g(() => text),
    limits: { maxTokens: g(() => dim), maxContext: g(() => dim) },
    values: values.toSorted((a, b) => a.id - b.id),
    weights: weights.toSorted(byValue),
    states: states.toSorted(byValue),
    ops,
    outputs: Object.fromEntries(results.map((id, i) => [keys[i] ?? "", id])),
  };
});
