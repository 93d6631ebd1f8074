/** @file Random programs, language models or not: the Program means what its methods say. */
import { createInterpreter, verifyProgram } from "@mpk/ir";
import type { Program, WeightSource } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops/semantics";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { defineModel } from "@mpk/dsl";
import type { Activation, Model, Tensor } from "@mpk/dsl";
import * as oracle from "./oracle.ts";
import type { Matrix } from "./oracle.ts";

type Rows = Tensor<readonly ["T", number], "f32">;

/** A tensor of the DSL beside its value for the step that the test runs. */
interface Both {
  readonly tensor: Rows;
  readonly value: Matrix;
}

const vocabulary = 11;
const eps = 1e-3;

/** Small, distinct and the same for the same name, rounded to bf16 as weights are. */
function weightRow(name: string, row: number, size: number): number[] {
  let seed = Array.from(name).reduce((hash, c) => (hash * 31 + c.charCodeAt(0)) >>> 0, row + 7);
  return Array.from({ length: size }, () => {
    seed = (seed * 1664525 + 1013904223) >>> 0;
    return Math.round((seed / 2 ** 32 - 0.5) * 128) / 64;
  });
}
const matrix = (name: string, rows: number, size: number): Matrix =>
  Array.from({ length: rows }, (_, r) => weightRow(name, r, size));

const weightsOf = (program: Program): WeightSource => (name) => {
  const { shape } = program.values.find((value) => value.name === name)!.type;
  const [rows = 1, size = rows] = shape.map(Number);
  const data = shape.length === 1 ? weightRow(name, 0, rows) : matrix(name, rows, size).flat();
  return { shape: shape.map(Number), data: Float32Array.from(data) };
};

/** One more op on tensors that exist: the DSL's method and the oracle's, side by side. */
type Step = (m: Model, pool: readonly Both[], pick: (n: number) => number, id: string) => Both;

const activationNames = Object.keys(oracle.scalar) as Activation[];

function mate(pool: readonly Both[], x: Both, pick: (n: number) => number): Both {
  const same = pool.filter((y) => y.tensor.shape[1] === x.tensor.shape[1]);
  return same[pick(same.length)]!;
}

const any = (pool: readonly Both[], pick: (n: number) => number): Both => pool[pick(pool.length)]!;
const widthOf = (x: Both): number => x.tensor.shape[1];
/** A divisor of the column count. */
const runOf = (x: Both, pick: (n: number) => number): number => {
  const divisors = [1, 2, 3, 4, 6].filter((d) => widthOf(x) % d === 0);
  return widthOf(x) / divisors[pick(divisors.length)]!;
};

const steps: Readonly<Record<string, Step>> = {
  activate(_m, pool, pick) {
    const [x, name] = [any(pool, pick), activationNames[pick(activationNames.length)]!];
    return { tensor: x.tensor.activate(name), value: oracle.unary(oracle.scalar[name])(x.value) };
  },
  gated(_m, pool, pick) {
    const x = any(pool, pick);
    const [y, name] = [mate(pool, x, pick), activationNames[pick(activationNames.length)]!];
    const value = oracle.binary((a, b) => oracle.scalar[name](a) * b)(x.value, y.value);
    return { tensor: x.tensor.gated(name, y.tensor), value };
  },
  arithmetic(_m, pool, pick) {
    const x = any(pool, pick);
    const y = mate(pool, x, pick);
    const [a, b] = [x.tensor, y.tensor];
    const results: readonly { tensor: Rows; f: (u: number, v: number) => number }[] = [
      { tensor: a.add(b), f: (u, v) => u + v },
      { tensor: a.sub(b.scale(0.5)), f: (u, v) => u - v / 2 },
      { tensor: a.mul(b), f: (u, v) => u * v },
      { tensor: a.div(b.map((v) => 1 + Math.abs(v))), f: (u, v) => u / (1 + Math.abs(v)) },
      { tensor: a.map((u, v) => Math.max(u, v) - v, b), f: (u, v) => (u > v ? u - v : 0) },
    ];
    const { tensor, f } = results[pick(results.length)]!;
    return { tensor, value: oracle.binary(f)(x.value, y.value) };
  },
  broadcast(m, pool, pick, id) {
    const x = any(pool, pick);
    const size = pick(2) === 0 ? 1 : widthOf(x);
    const value = oracle.binary((a, b) => a + b)(x.value, [weightRow(id, 0, size)]);
    return { tensor: x.tensor.add(m.weight(id, [size])), value };
  },
  matmul(m, pool, pick, id) {
    const [x, size] = [any(pool, pick), 2 + pick(9)];
    const bias = m.weight(`${id}.bias`, [size]);
    const tensor = x.tensor.matmul(m.weight(id, [size, widthOf(x)]), { bias });
    const product = oracle.matmul(x.value, matrix(id, size, widthOf(x)));
    const value = oracle.binary((a, b) => a + b)(product, [weightRow(`${id}.bias`, 0, size)]);
    return { tensor, value };
  },
  norm(m, pool, pick, id) {
    const x = any(pool, pick);
    const width = runOf(x, pick);
    const gain = m.weight(id, [width]);
    if (pick(2) === 0) {
      const value = oracle.rmsNorm(x.value, weightRow(id, 0, width), eps);
      return { tensor: x.tensor.rmsNorm(gain, { eps, width }), value };
    }
    const tensor = x.tensor.layerNorm(gain, m.weight(`${id}.b`, [width]), { eps, width });
    const [g, b] = [weightRow(id, 0, width), weightRow(`${id}.b`, 0, width)];
    return { tensor, value: oracle.layerNorm(x.value, g, b, eps) };
  },
  softmax(_m, pool, pick) {
    const x = any(pool, pick);
    const width = runOf(x, pick);
    return { tensor: x.tensor.softmax({ width }), value: oracle.softmax(x.value, width) };
  },
  split(_m, pool, pick) {
    const x = any(pool, pick);
    const first = 1 + pick(widthOf(x) - 1);
    const [left, right] = x.tensor.split([first, widthOf(x) - first]);
    if (pick(2) === 0) return { tensor: left, value: oracle.columns(x.value, 0, first) };
    return { tensor: right, value: oracle.columns(x.value, first, widthOf(x) - first) };
  },
  concat(_m, pool, pick) {
    const [x, y] = [any(pool, pick), any(pool, pick)];
    return { tensor: x.tensor.concat(y.tensor), value: oracle.beside(x.value, y.value) };
  },
  view(_m, pool, pick) {
    const x = any(pool, pick);
    const run = runOf(x, pick);
    const folded = x.tensor.reshape("T", widthOf(x) / run, run);
    return { tensor: folded.reshape("T", widthOf(x)).allReduce(), value: x.value };
  },
};

interface Plan {
  readonly ids: readonly number[];
  readonly width: number;
  /** Which step, and what it picks. */
  readonly moves: readonly (readonly [string, readonly number[]])[];
}

const plans: fc.Arbitrary<Plan> = fc.record({
  ids: fc.array(fc.nat(vocabulary - 1), { minLength: 1, maxLength: 4 }),
  width: fc.constantFrom(2, 4, 6, 12),
  moves: fc.array(
    fc.tuple(
      fc.constantFrom(...Object.keys(steps)),
      fc.array(fc.nat(1000), { minLength: 4, maxLength: 4 }),
    ),
    { minLength: 1, maxLength: 10 },
  ),
});

/** Numbers that float32 and float64 agree on well: neither huge nor wide. */
const tame = ({ value }: Both): boolean =>
  value[0]!.length >= 2 && value[0]!.length <= 40 && value.flat().every((v) => Math.abs(v) < 50);

/** Builds a plan's program, and what its values are for the plan's ids. */
function realize({ ids, width, moves }: Plan): {
  readonly program: Program;
  readonly want: ReadonlyMap<string, Matrix>;
} {
  const want = new Map<string, Matrix>();
  const limits = { maxTokens: 4, maxContext: 8 };
  const program = defineModel({ name: "random", limits }, (m) => {
    const table = matrix("table", vocabulary, width);
    const first: Both = {
      tensor: m.weight("table", [vocabulary, width]).lookup(m.ids()),
      value: ids.map((id) => table[id]!),
    };
    const pool = [first];
    moves.forEach(([name, picks], i) => {
      let at = 0;
      const pick = (n: number): number => picks[at++ % picks.length]! % n;
      const next = steps[name]!(m, pool, pick, `w${i}`);
      if (tame(next)) pool.push(next);
    });
    const outputs = pool.map(({ tensor, value }, i) => {
      want.set(`v${i}`, value);
      return [`v${i}`, tensor] as const;
    });
    const { tensor, value } = pool.at(-1)!;
    want.set("last", value.slice(-1));
    return { ...Object.fromEntries(outputs), last: tensor.last(), best: tensor.argmax() };
  });
  return { program, want };
}

describe("a random program", () => {
  it("means what its methods say", () => {
    const kinds = new Set<string>();
    fc.assert(fc.property(plans, (plan) => {
      const { program, want } = realize(plan);
      expect(verifyProgram(program, semanticsTable)).toEqual([]);
      const interpreter = createInterpreter(program, semanticsTable, {
        precision: "f32", weights: weightsOf(program),
      });
      const { outputs } = interpreter.step({ ids: plan.ids });
      for (const [name, value] of want) {
        const got = outputs[name]!.data;
        const error = value.flat().map((v, i) => Math.abs(got[i]! - v) / (1 + Math.abs(v)));
        expect(Math.max(...error)).toBeLessThan(2e-4);
        expect(got).toHaveLength(error.length);
      }
      const rows = outputs["last"]!.data;
      const best = rows[outputs["best"]!.data.at(-1)!]!;
      expect(rows.every((v) => v <= best)).toBe(true);
      for (const { kind } of program.ops) kinds.add(kind);
    }), { numRuns: 200 });
    expect(["embedding", "cast", "linear", "pointwise", "rmsNorm", "layerNorm", "softmax", "slice",
      "concat", "reshape", "allReduce", "lastRow", "argmax"].filter((kind) => !kinds.has(kind)))
      .toEqual([]);
  });

  it("is the same each time it is written, and its tensors never change", () => {
    fc.assert(fc.property(plans, (plan) => {
      expect(realize(plan).program).toEqual(realize(plan).program);
    }), { numRuns: 20 });
    defineModel({ name: "frozen", limits: { maxTokens: 1, maxContext: 1 } }, (m) => {
      const x = m.weight("table", [5, 4]).lookup(m.ids());
      const before = { shape: x.shape, dtype: x.dtype };
      const y = x.scale(2).reshape("T", 2, 2);
      expect([Object.isFrozen(x), x.shape, x.dtype]).toEqual([true, before.shape, before.dtype]);
      return { y };
    });
  });
});
