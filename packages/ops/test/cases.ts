/** @file Random instances of every op, for the conformance suite. */
import type { Expr, Json, TensorType } from "@mpk/ir";
import fc from "fast-check";

/** One instance: attributes, typed inputs and the step it runs in. */
export interface Case {
  readonly attrs: { readonly [key: string]: Json };
  readonly inputs: readonly TensorType[];
  readonly tokens: number;
  readonly maxTokens: number;
  /** Positions before this step's first token. */
  readonly past: number;
  /** Size of the op's KV state, if it has one. */
  readonly kv: { readonly kvHeads: number; readonly headDim: number } | null;
  /** Of the random data. */
  readonly seed: number;
  /** Rows of an embedding table: ids are below it. */
  readonly vocabulary: number;
}

type Parts = Pick<Case, "attrs" | "inputs"> & Partial<Case>;

const f32 = (...shape: TensorType["shape"]): TensorType => ({ dtype: "f32", shape });
const bf16 = (...shape: TensorType["shape"]): TensorType => ({ dtype: "bf16", shape });
const i32 = (...shape: TensorType["shape"]): TensorType => ({ dtype: "i32", shape });

const step = fc
  .record({ maxTokens: fc.integer({ min: 1, max: 5 }), past: fc.nat(6), seed: fc.nat() })
  .chain((own) => fc.integer({ min: 1, max: own.maxTokens }).map((tokens) => ({ ...own, tokens })));

function cases(parts: fc.Arbitrary<Parts>): fc.Arbitrary<Case> {
  return fc
    .tuple(parts, step)
    .map(([own, when]) => ({ kv: null, vocabulary: 1000, ...when, ...own }));
}

const columns = fc.integer({ min: 1, max: 600 });
const small = fc.integer({ min: 1, max: 40 });
const rows = fc.constantFrom<"T" | 1>("T", 1);
const floats = fc.constantFrom<"f32" | "bf16">("f32", "bf16");

/** Expressions without operations that blow small differences up. */
const tameExpr = (argCount: number): fc.Arbitrary<Expr> =>
  fc.letrec<{ e: Expr }>((tie) => ({
    e: fc.oneof(
      { maxDepth: 4, depthSize: "small" },
      fc.nat(argCount - 1).map((index): Expr => ({ op: "arg", index })),
      fc.constantFrom(0.5, -2, 3).map((value): Expr => ({ op: "const", value })),
      fc.record({ op: fc.constantFrom("sigmoid", "tanh", "neg", "abs"), x: tie("e") }),
      fc.record({ op: fc.constantFrom("add", "sub", "mul", "max"), x: tie("e"), y: tie("e") }),
      fc.record({ op: fc.constant("round"), to: fc.constant("bf16"), x: tie("e") }),
    ) as fc.Arbitrary<Expr>,
  })).e;

const ropeAttrs = (headDim: number): fc.Arbitrary<{ readonly [key: string]: Json }> =>
  fc.record({
    headDim: fc.constant(headDim),
    theta: fc.constantFrom(10000, 500000),
    scaling: fc.constantFrom<{ readonly [key: string]: Json }>(
      { kind: "none" },
      { kind: "linear", factor: 4 },
      { kind: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 64 },
    ),
  });

const norms = (bias: boolean): fc.Arbitrary<Case> =>
  cases(
    fc
      .record({ width: small, runs: fc.integer({ min: 1, max: 6 }), rows, dtype: floats })
      .map((own) => ({
        attrs: { eps: 1e-5, width: own.width },
        inputs: [
          { dtype: own.dtype, shape: [own.rows, own.width * own.runs] },
          bf16(own.width),
          ...(bias ? [f32(own.width)] : []),
        ],
      })),
  );

const embedding = cases(
  fc.record({ vocabulary: fc.integer({ min: 1, max: 50 }), width: columns }).map((own) => ({
    attrs: {},
    inputs: [i32("T"), bf16(own.vocabulary, own.width)],
    vocabulary: own.vocabulary,
  })),
);

const rope = cases(
  fc
    .record({ half: fc.integer({ min: 1, max: 16 }), heads: fc.integer({ min: 1, max: 5 }) })
    .chain(({ half, heads }) =>
      ropeAttrs(2 * half).map((attrs) => ({
        attrs,
        inputs: [f32("T", heads, 2 * half), i32("T")],
      })),
    ),
);

const attention = cases(
  fc
    .record({
      kvHeads: fc.integer({ min: 1, max: 3 }),
      group: fc.integer({ min: 1, max: 4 }),
      half: fc.integer({ min: 1, max: 8 }),
      window: fc.option(fc.integer({ min: 1, max: 8 })),
      norm: fc.boolean(),
      hasRope: fc.boolean(),
      dtype: floats,
    })
    .chain((own) => ropeAttrs(2 * own.half).map((turn) => ({ ...own, turn })))
    .map(({ kvHeads, group, half, window, norm, hasRope, dtype, turn }) => {
      const headDim = 2 * half;
      const [heads, width] = [kvHeads * group, kvHeads * headDim];
      const gains = norm ? [bf16(headDim), bf16(headDim)] : [];
      return {
        attrs: {
          heads,
          kvHeads,
          headDim,
          scale: headDim ** -0.5,
          window,
          qkNorm: norm ? { eps: 1e-6 } : null,
          rope: hasRope ? turn : null,
        },
        inputs: [
          { dtype, shape: ["T", heads * headDim] },
          { dtype, shape: ["T", width] },
          f32("T", width),
          i32("T"),
          ...gains,
        ],
        kv: { kvHeads, headDim },
      };
    }),
);

const attentionPart = fc
  .tuple(attention, fc.integer({ min: 1, max: 4 }), fc.nat(100))
  .map(([own, splits, past]) => ({ ...own, past, attrs: { ...own.attrs, splits } }));

const attentionMerge = cases(
  fc
    .record({
      kvHeads: fc.integer({ min: 1, max: 3 }),
      group: fc.integer({ min: 1, max: 4 }),
      headDim: fc.constantFrom(2, 6, 16, 48, 64),
      splits: fc.integer({ min: 1, max: 10 }),
    })
    .map(({ kvHeads, group, headDim, splits }) => ({
      attrs: { heads: kvHeads * group, kvHeads, headDim, splits },
      inputs: [f32("T", kvHeads * splits * group * (headDim + 2))],
    })),
);

const linear = cases(
  fc
    .record({
      groups: fc.constantFrom(1, 2, 4, 8),
      n: fc.integer({ min: 1, max: 70 }),
      k: fc.integer({ min: 1, max: 400 }),
      norm: fc.constantFrom("rms", "layer", null),
      round: fc.constantFrom("bf16", null),
      lastRow: fc.boolean(),
      rows,
      dtype: floats,
      out: floats,
      extras: fc.array(fc.constantFrom("full", "row", "scalar"), { maxLength: 3 }),
    })
    .chain((own) =>
      tameExpr(own.groups + own.extras.length).map((epilogue) => ({ ...own, epilogue })),
    )
    .map(({ groups, n, k, norm, extras, rows: r, dtype, ...attrs }) => {
      const outRows = attrs.lastRow ? 1 : r;
      const types = { full: f32(outRows, n), row: bf16(n), scalar: f32(1) };
      return {
        attrs: { ...attrs, groups, norm: norm === null ? null : { kind: norm, eps: 1e-5 } },
        inputs: [
          { dtype, shape: [r, k] },
          ...Array.from({ length: groups }, () => bf16(n, k)),
          ...(norm === null ? [] : norm === "rms" ? [bf16(k)] : [bf16(k), bf16(k)]),
          ...extras.map((kind) => types[kind]),
        ],
      };
    }),
);

const pointwise = cases(
  fc
    .record({
      n: columns,
      rows,
      out: fc.constantFrom("f32", "bf16", "i32"),
      kinds: fc.array(fc.constantFrom("full", "bf16", "row", "scalar"), { maxLength: 3 }),
      at: fc.nat(3),
    })
    .chain((own) => tameExpr(own.kinds.length + 1).map((expr) => ({ ...own, expr })))
    .map(({ n, rows: r, out, kinds, at, expr }) => {
      const types = { full: f32(r, n), bf16: bf16(r, n), row: bf16(n), scalar: f32(1) };
      const inputs = kinds.map((kind) => types[kind]);
      return { attrs: { expr, out }, inputs: inputs.toSpliced(at, 0, f32(r, n)) };
    }),
);

const view = (attrs: (n: number) => fc.Arbitrary<Parts["attrs"]>): fc.Arbitrary<Case> =>
  cases(
    fc
      .record({ n: columns, dtype: floats })
      .chain(({ n, dtype }) =>
        attrs(n).map((own) => ({ attrs: own, inputs: [{ dtype, shape: ["T", n] }] })),
      ),
  );

/** By op name. */
export const caseTable: { readonly [name: string]: fc.Arbitrary<Case> } = {
  embedding,
  linear,
  rmsNorm: norms(false),
  layerNorm: norms(true),
  rope,
  attention,
  attentionPart,
  attentionMerge,
  pointwise,
  cast: cases(
    fc
      .record({ n: columns, from: fc.constantFrom("f32", "bf16", "i32"), to: floats, rows })
      .map(({ n, from, to, rows: r }) => ({
        attrs: { to },
        inputs: [{ dtype: from, shape: [r, n] }],
      })),
  ),
  softmax: cases(
    fc
      .record({ width: small, runs: fc.integer({ min: 1, max: 6 }), rows })
      .map(({ width, runs, rows: r }) => ({ attrs: { width }, inputs: [f32(r, width * runs)] })),
  ),
  slice: view((n) =>
    fc
      .tuple(fc.nat(n - 1), fc.nat(n - 1))
      .map(([a, b]) => ({ start: Math.min(a, b), size: Math.abs(a - b) + 1 })),
  ),
  reshape: view((n) => fc.constantFrom({ shape: ["T", n, 1] }, { shape: ["T", n] })),
  concat: cases(
    fc
      .record({ widths: fc.array(columns, { minLength: 1, maxLength: 4 }), rows, dtype: floats })
      .map(({ widths, rows: r, dtype }) => ({
        attrs: {},
        inputs: widths.map((n) => ({ dtype, shape: [r, n] })),
      })),
  ),
  lastRow: view(() => fc.constant({})),
  argmax: cases(
    fc.record({ n: columns, rows }).map(({ n, rows: r }) => ({ attrs: {}, inputs: [f32(r, n)] })),
  ),
  blockMax: cases(
    fc
      .record({ n: columns, block: fc.integer({ min: 1, max: 100 }) })
      .map(({ n, block }) => ({ attrs: { block }, inputs: [f32(1, n)] })),
  ),
  blockSquares: cases(
    fc
      .record({ n: columns, block: fc.integer({ min: 1, max: 100 }), rows, dtype: floats })
      .map(({ n, block, rows: r, dtype }) => ({ attrs: { block }, inputs: [{ dtype, shape: [r, n] }] })),
  ),
  sample: cases(columns.map((n) => ({ attrs: {}, inputs: [f32(1, n)] }))),
  allReduce: view(() => fc.constant({ reduce: "sum" })),
};
