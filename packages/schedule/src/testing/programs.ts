/** @file Random small programs over the toy table, as fast-check arbitraries that shrink. */
import { createBuilder } from "@mpk/ir";
import type { Program, SemanticsTable, ValueId, WeightSource } from "@mpk/ir";
import fc from "fast-check";
import { columnsOf } from "../planner/shapes.ts";
import { toyTable } from "./toyTable.ts";

/** The toy table's meanings alone, for the interpreter. */
export const toySemantics: SemanticsTable = new Map(
  [...toyTable].map(([name, { semantics }]) => [name, semantics]),
);

/** One op of a recipe; the numbers pick operands and sizes, whatever is there to pick from. */
export interface Ingredient {
  readonly kind: "matmul" | "fold" | "rotate" | "mix" | "cols";
  readonly from: number;
  readonly size: number;
  readonly flavor: number;
}

export interface Recipe {
  readonly hidden: number;
  readonly vocabulary: number;
  readonly maxTokens: number;
  readonly ops: readonly Ingredient[];
}

const widths = [8, 16, 24, 40, 128] as const;
const pick = <T>(list: readonly T[], n: number): T => list[n % list.length] as T;

/** At least a lookup, a matmul, a streamed output projection and a choice. */
export function buildProgram(recipe: Recipe): Program {
  const { hidden, vocabulary, maxTokens } = recipe;
  const limits = { maxTokens, maxContext: 32 };
  const builder = createBuilder({ name: "random", limits, table: toySemantics });
  let weights = 0;
  const weight = (rows: number, columns?: number): ValueId => {
    const shape = columns === undefined ? [rows] : [rows, columns];
    return builder.weight(`w${weights++}`, { dtype: "bf16", shape });
  };
  const only = (ids: readonly ValueId[]): ValueId => ids[0] ?? -1;
  const width = (value: ValueId): number => columnsOf(builder.typeOf(value));
  const x = builder.op({
    kind: "lookup", inputs: [builder.input("ids"), weight(vocabulary, hidden)],
  });
  const pool: ValueId[] = [only(x)];
  recipe.ops.forEach(({ kind, from, size, flavor }, i) => {
    const scope = `layers.${Math.floor(i / 2)}`;
    const a = pick(pool, from);
    if (kind === "matmul") {
      const n = pick(widths, size);
      const groups = 1 + (flavor % 2);
      const ws = Array.from({ length: groups }, () => weight(n, width(a)));
      const attrs = { groups, slice: flavor % 3, lastRow: false };
      pool.push(only(builder.op({ kind, inputs: [a, ...ws], attrs, scope })));
    } else if (kind === "fold") {
      const same = pool.filter((value) => width(value) === width(a));
      const bias = flavor % 2 === 1;
      const inputs = [a, pick(same, size), ...(bias ? [weight(width(a))] : [])];
      const attrs = { bias, out: flavor % 3 === 0 ? "bf16" : "f32" };
      pool.push(only(builder.op({ kind, inputs, attrs, scope })));
    } else if (kind === "rotate") {
      const attrs = { by: flavor % width(a) };
      pool.push(only(builder.op({ kind, inputs: [a], attrs, scope })));
    } else if (kind === "mix") {
      const heads = pick([1, 2, 4], size);
      const attrs = { heads, width: width(a) / heads };
      const state = builder.state(`kv${i}`, { kvHeads: heads, headDim: attrs.width });
      const inputs = [a, builder.input("positions")];
      pool.push(only(builder.op({ kind, inputs, states: [state], attrs, scope })));
    } else {
      const start = flavor % width(a);
      const most = width(a) - start;
      // Views keep a multiple of eight columns where they can, so that mix can split them.
      const columns = Math.max(4, Math.floor((1 + (size % most)) / 8) * 8);
      if (start + columns > width(a) || columns % 4 !== 0) return;
      const attrs = { start, size: columns };
      pool.push(only(builder.op({ kind, inputs: [a], attrs, scope })));
    }
  });
  const final = pool[pool.length - 1] ?? -1;
  const row = only(builder.op({ kind: "last", inputs: [final], scope: "head" }));
  const attrs = { groups: 1, slice: 0, lastRow: false };
  const inputs = [row, weight(vocabulary, width(row))];
  const logits = only(builder.op({ kind: "matmul", inputs, attrs, scope: "head" }));
  const token = only(builder.op({ kind: "choose", inputs: [logits], scope: "head" }));
  builder.output("logits", logits);
  builder.output("token", token);
  return builder.build();
}

const ingredient: fc.Arbitrary<Ingredient> = fc.record({
  kind: fc.constantFrom("matmul", "matmul", "fold", "rotate", "mix", "cols"),
  from: fc.nat(15),
  size: fc.nat(63),
  flavor: fc.nat(63),
});

export interface ProgramSizes {
  /** Ops beside lookup, head and choice. */
  readonly maxOps?: number;
}

/** Recipes of small programs, each with a state's past, a stream and an effect in reach. */
export function recipes({ maxOps = 6 }: ProgramSizes = {}): fc.Arbitrary<Recipe> {
  return fc.record({
    hidden: fc.constantFrom(...widths),
    vocabulary: fc.integer({ min: 9, max: 40 }),
    maxTokens: fc.integer({ min: 1, max: 3 }),
    ops: fc.array(ingredient, { minLength: 1, maxLength: maxOps }),
  });
}

/** Small valid programs over `toyTable`. */
export function programs(sizes: ProgramSizes = {}): fc.Arbitrary<Program> {
  return recipes(sizes).map(buildProgram);
}

/** Integers in [-3, 3] by tensor name and element: the same for the same seed. */
export function toyWeights(program: Program, seed = 0): WeightSource {
  const shapes = new Map(
    program.weights.map(({ value, parts }) => [
      parts[0]?.tensor, program.values[value]?.type.shape.map(Number) ?? [],
    ]),
  );
  return (tensor) => {
    const shape = shapes.get(tensor);
    if (shape === undefined) return null;
    let state = seed + 1;
    for (const character of tensor) state = (state * 31 + character.charCodeAt(0)) >>> 0;
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < data.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      data[i] = ((state >>> 16) % 7) - 3;
    }
    return { data, shape };
  };
}
