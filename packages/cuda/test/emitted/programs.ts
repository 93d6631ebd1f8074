/** @file Programs over the real op table that between them reach every body of the emitter. */
import { createBuilder, exprToJson, parseExpr, passesOfSteps, runPasses } from "@mpk/ir";
import type { DType, Json, Program, ProgramBuilder, State, ValueId } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops";

type Attrs = { readonly [key: string]: Json };

/** A builder with short names: ops give their one result, weights are bf16 by default. */
export function writer(name: string, limits = { maxTokens: 4, maxContext: 128 }) {
  const b: ProgramBuilder = createBuilder({ name, limits, table: semanticsTable });
  let scope = "";
  const op = (
    kind: string, inputs: readonly ValueId[], attrs: Attrs = {}, states: readonly ValueId[] = [],
  ): ValueId => b.op({ kind, inputs, attrs, scope, states })[0] ?? -1;
  const weight = (own: string, shape: readonly number[], dtype: DType = "bf16"): ValueId =>
    b.weight(`${scope}.${own}`, { dtype, shape });
  const state = (own: string, size: Pick<State, "kvHeads" | "headDim">): ValueId =>
    b.state(`${scope}.${own}`, size);
  return {
    b, op, weight, state,
    inScope(path: string): void {
      scope = path;
    },
    columns: (x: ValueId): number => Number(b.typeOf(x).shape.at(-1)),
    map: (text: string, inputs: readonly ValueId[], out: DType = "f32"): ValueId =>
      op("pointwise", inputs, { expr: exprToJson(parseExpr(text)), out }),
    cast: (x: ValueId, to: DType = "bf16"): ValueId => op("cast", [x], { to }),
    embed: (vocabulary: number, hidden: number): ValueId =>
      op("embedding", [b.input("ids"), weight("embed", [vocabulary, hidden])]),
  };
}

export type Writer = ReturnType<typeof writer>;

export interface LinearForm {
  readonly groups?: 1 | 2 | 4 | 8;
  readonly norm?: "rms" | "layer" | null;
  readonly gain?: "bf16" | "f32";
  readonly lastRow?: boolean;
  readonly out?: "bf16" | "f32";
  /** Over the products a0 .. and then the extras. */
  readonly epilogue?: string;
  readonly extras?: readonly ValueId[];
}

/** A linear op as the passes leave it: norm, cast and epilogue of its own. */
export function linear(w: Writer, name: string, x: ValueId, n: number, form: LinearForm = {}) {
  const { groups = 1, norm = null, gain = "bf16", lastRow = false, out = "f32" } = form;
  const k = w.columns(x);
  const weights = Array.from({ length: groups }, (_, g) => w.weight(`${name}.w${g}`, [n, k]));
  const gains = norm === null ? [] : [w.weight(`${name}.gain`, [k], gain)];
  if (norm === "layer") gains.push(w.weight(`${name}.bias`, [k], gain));
  const products = Array.from({ length: groups }, (_, g) => `a${g}`).join(" + ");
  return w.op("linear", [x, ...weights, ...gains, ...(form.extras ?? [])], {
    groups, lastRow, out, round: "bf16",
    norm: norm === null ? null : { kind: norm, eps: 1e-5 },
    epilogue: exprToJson(parseExpr(form.epilogue ?? products)),
  });
}

export interface AttentionForm {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly window?: number | null;
  readonly qkNorm?: boolean;
  readonly gain?: "bf16" | "f32";
  readonly rope?: "none" | "linear" | "llama3" | null;
  /** Parts of the context, merged by an op of their own. */
  readonly splits?: number;
}

const ropeAttrs = (headDim: number, scaling: "none" | "linear" | "llama3"): Attrs => ({
  headDim, theta: 10000,
  scaling: {
    none: { kind: "none" },
    linear: { kind: "linear", factor: 4 },
    llama3: {
      kind: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 64,
    },
  }[scaling],
});

/** Attention over q, k and v that views cut out of x. */
export function attention(w: Writer, x: ValueId, form: AttentionForm): ValueId {
  const { heads, kvHeads, headDim, window = null, qkNorm = false, rope = "none" } = form;
  const [own, other] = [heads * headDim, kvHeads * headDim];
  const part = (start: number, size: number): ValueId => w.op("slice", [x], { start, size });
  const inputs = [
    part(0, own), part(own, other), part(own + other, other), w.b.input("positions"),
  ];
  const gain = (name: string): ValueId => w.weight(name, [headDim], form.gain);
  if (qkNorm) inputs.push(gain("q_norm"), gain("k_norm"));
  const sizes = { heads, kvHeads, headDim };
  const attrs = {
    ...sizes, scale: headDim ** -0.5, window,
    qkNorm: qkNorm ? { eps: 1e-6 } : null,
    rope: rope === null ? null : ropeAttrs(headDim, rope),
  };
  const states = [w.state("kv", { kvHeads, headDim })];
  const { splits } = form;
  if (splits === undefined) return w.op("attention", inputs, attrs, states);
  const parts = w.op("attentionPart", inputs, { ...attrs, splits }, states);
  return w.op("attentionMerge", [parts], { ...sizes, splits });
}

/** Logits, their block maxima and the choice, from the last row of x. */
export function head(
  w: Writer, x: ValueId, vocabulary: number, block: number | null = 64,
): Program {
  const logits = linear(w, "head", x, vocabulary, { norm: "rms", lastRow: true });
  const maxima = block === null ? [] : [w.op("blockMax", [logits], { block })];
  w.b.output("logits", logits);
  w.b.output("token", w.op("sample", [logits, ...maxima]));
  return w.b.build();
}

/** Every operation that an expression may have; a0 and a1 are any numbers. */
const everyOperation = [
  "-a0 + abs(a1) + (exp(a0) - log(abs(a1) + 1)) * sqrt(abs(a0)) * rsqrt(abs(a1) + 1)",
  "tanh(a0) / (sigmoid(a1) + 1) + erf(a0) + sin(a1) * cos(a0) + floor(a0) * ceil(a1)",
  "min(a0, a1) + max(a0, -2) + pow(abs(a0), 1.5) + select(a0 < a1, a0, -1e-30)",
  "(a0 <= a1) + (a0 > a1) + (a0 >= a1) + (a0 == a1) + (a0 != a1) + bf16(a0) + f32(a1) + i32(a0)",
] as const;

/** Small ops on their own, as they are where no pass folds them; gives the last one's result. */
function addSmallOps(w: Writer): ValueId {
  const [hidden, headDim] = [64, 16];
  let x = w.embed(300, hidden);
  const positions = w.b.input("positions");
  const vector = (name: string, dtype: DType = "bf16"): ValueId => w.weight(name, [hidden], dtype);
  w.inScope("norms");
  x = w.op("rmsNorm", [x, vector("gain")], { eps: 1e-5, width: hidden });
  x = w.op("rmsNorm", [x, w.weight("head_gain", [headDim], "f32")], { eps: 1e-6, width: headDim });
  x = w.op("layerNorm", [x, vector("g2"), vector("b2", "f32")], { eps: 1e-5, width: hidden });
  w.inScope("turns");
  x = w.op("rope", [x, positions], ropeAttrs(headDim, "llama3"));
  x = w.op("rope", [w.cast(x), positions], ropeAttrs(headDim, "none"));
  w.inScope("maps");
  for (const text of everyOperation) x = w.map(text, [x, vector("scale")]);
  const half = w.map("a0 * a1", [x, w.weight("factor", [1], "f32")], "bf16");
  const left = w.op("slice", [half], { start: 8, size: 24 });
  const right = w.op("slice", [half], { start: 40, size: 24 });
  w.inScope("joins");
  const joined = w.op("concat", [left, right, w.op("slice", [half], { start: 0, size: 16 })]);
  x = w.op("softmax", [w.cast(joined, "f32")], { width: hidden });
  x = w.op("softmax", [x], { width: headDim });
  w.b.output("best", w.op("argmax", [x]));
  w.b.output("lastBest", w.op("argmax", [w.op("lastRow", [half])]));
  const reshaped = w.op("reshape", [x], { shape: ["T", 4, headDim] });
  const flat = w.op("allReduce", [w.op("reshape", [reshaped], { shape: ["T", hidden] })], {
    reduce: "sum",
  });
  return w.map("a0 + a1", [flat, half]);
}

/** No linear but the head. */
export function smallOps(): Program {
  const w = writer("small-ops");
  return head(w, addSmallOps(w), 300, null);
}

/** Every op of the table, and the usual forms of those that have many. */
export function everyOp(): Program {
  const w = writer("every-op", { maxTokens: 8, maxContext: 8192 });
  const x = addSmallOps(w);
  w.inScope("layer");
  const gated = linear(w, "up", x, 128, {
    groups: 2, norm: "rms", epilogue: "a0 * sigmoid(a0) * a1", out: "bf16",
  });
  const qkv = linear(w, "qkv", gated, 256);
  const form = { heads: 2, kvHeads: 1, headDim: 64, qkNorm: true, window: 100 };
  const mixed = linear(w, "o", w.cast(attention(w, qkv, form)), 64, {
    epilogue: "a0 + a1", extras: [x],
  });
  w.inScope("split");
  w.b.output("split", attention(w, qkv, { ...form, splits: 3 }));
  w.b.output("squares", w.op("blockSquares", [mixed], { block: 24 }));
  w.inScope("");
  return head(w, linear(w, "last", mixed, 64, { norm: "layer" }), 300);
}

/** Linears in every form: groups, norms, extras, formats, odd sizes, the last row. */
export function linears(maxTokens = 8, columns = 96): Program {
  const w = writer("linears", { maxTokens, maxContext: Math.max(64, 2 * maxTokens) });
  let x = w.embed(300, columns);
  const n = 80;
  const add = (name: string, form: LinearForm): ValueId => {
    w.inScope(name);
    return linear(w, "w", x, n, form);
  };
  const plain = add("plain", {});
  const vector = w.weight("bias", [n]);
  const scalar = w.weight("factor", [1], "f32");
  x = add("extras", {
    norm: "rms", gain: "f32", epilogue: "(a0 + a1) * a2 + bf16(a3)",
    extras: [vector, scalar, plain],
  });
  x = add("two", { groups: 2, norm: "rms", epilogue: "a0 * sigmoid(a0) * a1", out: "bf16" });
  x = add("bf16", { epilogue: "a0 + a1", extras: [plain] });
  x = add("layer", { norm: "layer", gain: "f32", out: "bf16" });
  x = add("four", { groups: 4, norm: "layer" });
  x = add("eight", { groups: 8, norm: "rms" });
  w.inScope("odd");
  const odd = linear(w, "w", w.op("slice", [x], { start: 3, size: 37 }), 21, { norm: "rms" });
  x = linear(w, "back", w.cast(odd), n);
  w.inScope("top");
  const row = linear(w, "last", x, n, { norm: "layer", lastRow: true });
  const one = linear(w, "row", row, n, { norm: "rms", epilogue: "a0 + a1", extras: [row] });
  return head(w, one, 70);
}

/** Attention in many forms, side by side over one wide x. */
export function attentions(forms: readonly AttentionForm[], maxTokens = 4): Program {
  const w = writer("attentions", { maxTokens, maxContext: 8192 });
  // Wide enough for all of them, and for the plan to leave room for the widest heads.
  const x = w.embed(300, 4096);
  forms.forEach((form, i) => {
    w.inScope(`layers.${i}`);
    w.b.output(`attended${i}`, attention(w, x, form));
  });
  return head(w, x, 40);
}

/** Grouped, multi-query and multi-head; windows, norms and rotations; head widths to 256. */
export const attentionForms: readonly AttentionForm[] = [
  { heads: 2, kvHeads: 1, headDim: 16, rope: "linear" },
  { heads: 2, kvHeads: 2, headDim: 32, window: 5 },
  { heads: 4, kvHeads: 1, headDim: 48, qkNorm: true },
  { heads: 3, kvHeads: 1, headDim: 64, rope: "llama3" },
  { heads: 2, kvHeads: 1, headDim: 80, rope: null },
  { heads: 2, kvHeads: 2, headDim: 96, qkNorm: true, gain: "f32", rope: null },
  { heads: 4, kvHeads: 2, headDim: 128, qkNorm: true, window: 4096 },
  { heads: 1, kvHeads: 1, headDim: 192 },
  { heads: 2, kvHeads: 1, headDim: 256, window: 64, qkNorm: true },
];


/** After all passes. */
export const passed = (program: Program): Program =>
  runPasses(program, semanticsTable, passesOfSteps(program.limits));

/** A decoder of equal layers: attention, then a gated product. */
export function layered(layers: number): Program {
  const w = writer("layered", { maxTokens: 2, maxContext: 64 });
  let x = w.embed(300, 64);
  for (let i = 0; i < layers; i++) {
    w.inScope(`layers.${i}`);
    const qkv = linear(w, "qkv", x, 64, { norm: "rms" });
    const mixed = w.cast(attention(w, qkv, { heads: 2, kvHeads: 1, headDim: 16 }));
    x = linear(w, "o", mixed, 64, { epilogue: "a0 + a1", extras: [x] });
    const gated = linear(w, "up", x, 96, {
      groups: 2, norm: "rms", epilogue: "a0 * sigmoid(a0) * a1", out: "bf16",
    });
    x = linear(w, "down", gated, 64, { epilogue: "a0 + a1", extras: [x] });
  }
  w.inScope("");
  return head(w, x, 40);
}
