/** @file Small decoder-like Programs in many forms, and random weights for them. */
import fc from "fast-check";
import { createBuilder, parseExpr, exprToJson } from "@mpk/ir";
import type { Json, Program, ProgramBuilder, TensorType, ValueId, WeightSource } from "@mpk/ir";
import { semanticsTable } from "../../src/semantics.ts";

/** How a decoder is written: each field is a choice that some model or author makes. */
export interface DecoderForm {
  readonly layers: number;
  readonly hidden: number;
  readonly ffn: number;
  readonly vocabulary: number;
  readonly kvHeads: number;
  readonly headsPerKv: number;
  readonly headDim: number;
  readonly norm: "rms" | "layer";
  /** Casts to bf16 before products; `each` projection its own, or one `shared`. */
  readonly casts: "none" | "each" | "shared";
  /** The residual stream is rounded to bf16 after each addition. */
  readonly roundResidual: boolean;
  readonly bias: "none" | "all" | "query";
  readonly biasType: "f32" | "bf16";
  /** Gate, up, down and the attention's output have biases too. */
  readonly otherBiases: boolean;
  readonly qkNorm: boolean;
  readonly rope: boolean;
  readonly window: number | null;
  readonly gate: "one op" | "two ops" | "three ops" | "none";
  readonly scale: boolean;
  readonly allReduce: boolean;
  /** Attention and MLP read the same x and are added together. */
  readonly parallel: boolean;
  readonly tied: boolean;
  readonly lastRow: "before norm" | "after norm" | "after cast" | "after head";
  readonly headBias: boolean;
  readonly sample: boolean;
  /** Also names the first layer's attention and an unread op's input as outputs. */
  readonly extraOutput: boolean;
  readonly dead: boolean;
}

/** The form of a Llama. */
export const plainForm: DecoderForm = {
  layers: 1,
  hidden: 12,
  ffn: 20,
  vocabulary: 23,
  kvHeads: 2,
  headsPerKv: 2,
  headDim: 4,
  norm: "rms",
  casts: "shared",
  roundResidual: false,
  bias: "none",
  biasType: "bf16",
  otherBiases: false,
  qkNorm: false,
  rope: true,
  window: null,
  gate: "one op",
  scale: false,
  allReduce: false,
  parallel: false,
  tied: true,
  lastRow: "before norm",
  headBias: false,
  sample: true,
  extraOutput: false,
  dead: false,
};

/** Every form, sizes small and often odd. */
export const decoderForms: fc.Arbitrary<DecoderForm> = fc.record<DecoderForm>({
  layers: fc.integer({ min: 1, max: 2 }),
  hidden: fc.integer({ min: 3, max: 17 }),
  ffn: fc.integer({ min: 1, max: 19 }),
  vocabulary: fc.integer({ min: 2, max: 40 }),
  kvHeads: fc.integer({ min: 1, max: 3 }),
  headsPerKv: fc.integer({ min: 1, max: 3 }),
  headDim: fc.constantFrom(2, 4, 6),
  norm: fc.constantFrom("rms", "layer"),
  casts: fc.constantFrom("none", "each", "shared"),
  roundResidual: fc.boolean(),
  bias: fc.constantFrom("none", "all", "query"),
  biasType: fc.constantFrom("f32", "bf16"),
  otherBiases: fc.boolean(),
  qkNorm: fc.boolean(),
  rope: fc.boolean(),
  window: fc.constantFrom(null, 1, 3),
  gate: fc.constantFrom("one op", "two ops", "three ops", "none"),
  scale: fc.boolean(),
  allReduce: fc.boolean(),
  parallel: fc.boolean(),
  tied: fc.boolean(),
  lastRow: fc.constantFrom("before norm", "after norm", "after cast", "after head"),
  headBias: fc.boolean(),
  sample: fc.boolean(),
  extraOutput: fc.boolean(),
  dead: fc.boolean(),
});

type Attrs = { readonly [key: string]: Json };

/** A builder with the ops of a decoder as functions. */
function writerOf(b: ProgramBuilder, form: DecoderForm) {
  let scope = "";
  const op = (kind: string, inputs: readonly ValueId[], attrs: Attrs = {}): ValueId =>
    b.op({ kind, inputs, attrs, scope })[0]!;
  const weight = (name: string, shape: number[], dtype: TensorType["dtype"] = "bf16"): ValueId =>
    b.weight(`${scope}${scope && "."}${name}`, { dtype, shape });
  const map = (text: string, inputs: readonly ValueId[], out = "f32"): ValueId =>
    op("pointwise", inputs, { expr: exprToJson(parseExpr(text)), out });
  const cast = (x: ValueId): ValueId =>
    form.casts === "none" ? x : op("cast", [x], { to: "bf16" });
  const columns = (x: ValueId): number => Number(b.typeOf(x).shape[1]);
  return {
    op, weight, map, cast,
    inScope(name: string) {
      scope = name;
    },
    norm(x: ValueId, name: string, width = columns(x)): ValueId {
      const gain = weight(`${name}.weight`, [width], "f32");
      if (form.norm === "rms" || width !== columns(x)) {
        return op("rmsNorm", [x, gain], { eps: 1e-5, width });
      }
      return op("layerNorm", [x, gain, weight(`${name}.bias`, [width])], { eps: 1e-5, width });
    },
    linear(x: ValueId, name: string, n: number): ValueId {
      const w = weight(`${name}.weight`, [n, columns(x)]);
      const epilogue = exprToJson(parseExpr("a0"));
      const attrs = { groups: 1, norm: null, round: null, lastRow: false, epilogue, out: "f32" };
      return op("linear", [form.casts === "each" ? cast(x) : x, w], attrs);
    },
    bias(x: ValueId, name: string): ValueId {
      return map("a0 + a1", [x, weight(`${name}.bias`, [columns(x)], form.biasType)]);
    },
    /** A linear with its bias if the form has biases beyond those of q, k and v. */
    project(x: ValueId, name: string, n: number): ValueId {
      const y = this.linear(x, name, n);
      return form.otherBiases ? this.bias(y, name) : y;
    },
    residual(x: ValueId, y: ValueId): ValueId {
      const sum = map("a0 + a1", [x, form.allReduce ? op("allReduce", [y], { reduce: "sum" }) : y]);
      return form.roundResidual ? cast(sum) : sum;
    },
  };
}

type Writer = ReturnType<typeof writerOf>;

function attention(b: ProgramBuilder, w: Writer, form: DecoderForm, h: ValueId, kv: ValueId) {
  const { kvHeads, headDim } = form;
  const heads = kvHeads * form.headsPerKv;
  const positions = b.input("positions");
  const project = (name: string, n: number): ValueId => {
    const y = w.linear(h, name, n * headDim);
    return form.bias === "all" || (form.bias === "query" && name === "q") ? w.bias(y, name) : y;
  };
  const prepare = (x: ValueId, name: string): ValueId => {
    const normed = form.qkNorm ? w.op("rmsNorm", [x, w.weight(`${name}_norm`, [headDim], "f32")], {
      eps: 1e-6,
      width: headDim,
    }) : x;
    const scaling = { kind: "none" };
    const attrs = { headDim, theta: 10000, scaling };
    return form.rope ? w.op("rope", [normed, positions], attrs) : normed;
  };
  const q = prepare(project("q", heads), "q");
  const k = prepare(project("k", kvHeads), "k");
  const v = project("v", kvHeads);
  const { window } = form;
  const scale = 1 / Math.sqrt(headDim);
  const attrs = { heads, kvHeads, headDim, scale, window, qkNorm: null, rope: null };
  const inputs = [q, k, v, positions];
  const [y] = b.op({ kind: "attention", inputs, states: [kv], attrs, scope: "attn" });
  return w.project(form.casts === "shared" ? w.cast(y!) : y!, "o", form.hidden);
}

function mlp(w: Writer, form: DecoderForm, h: ValueId): ValueId {
  const down = (x: ValueId): ValueId =>
    w.project(form.casts === "shared" ? w.cast(x) : x, "down", form.hidden);
  const gate = w.project(h, "gate", form.ffn);
  if (form.gate === "none") return down(w.map("max(a0, 0)", [gate]));
  const up = w.project(h, "up", form.ffn);
  switch (form.gate) {
    case "one op":
      return down(w.map("a1 * (a0 * sigmoid(a0))", [gate, up]));
    case "two ops":
      return down(w.map("a0 * a1", [w.map("a0 * sigmoid(a0)", [gate]), up]));
    case "three ops": {
      const sigmoid = w.map("sigmoid(a0)", [gate]);
      return down(w.map("a0 * a1", [up, w.map("a0 * a1", [gate, sigmoid])]));
    }
  }
}

function layer(b: ProgramBuilder, w: Writer, form: DecoderForm, x: ValueId, name: string) {
  w.inScope(name);
  const shared = (h: ValueId): ValueId => (form.casts === "shared" ? w.cast(h) : h);
  const kv = b.state(`${name}.kv`, { kvHeads: form.kvHeads, headDim: form.headDim });
  const h = shared(w.norm(x, "norm1"));
  const attended = attention(b, w, form, h, kv);
  if (form.dead) w.map("a0 * 2", [attended]);
  if (form.parallel) return { attended, x: w.residual(w.residual(x, attended), mlp(w, form, h)) };
  const middle = w.residual(x, attended);
  return { attended, x: w.residual(middle, mlp(w, form, shared(w.norm(middle, "norm2")))) };
}

function logitsOf(w: Writer, form: DecoderForm, x: ValueId): ValueId {
  const last = (place: DecoderForm["lastRow"], y: ValueId): ValueId =>
    form.lastRow === place ? w.op("lastRow", [y]) : y;
  const normed = last("after norm", w.norm(last("before norm", x), "norm"));
  const cast = last("after cast", form.casts === "shared" ? w.cast(normed) : normed);
  const head = w.linear(cast, form.tied ? "embed" : "head", form.vocabulary);
  return last("after head", form.headBias ? w.bias(head, "head") : head);
}

/** A decoder of a form. Its outputs: logits, and what the form adds. */
export function buildDecoder(form: DecoderForm): Program {
  const limits = { maxTokens: 4, maxContext: 16 };
  const b = createBuilder({ name: "decoder", limits, table: semanticsTable });
  const w = writerOf(b, form);
  let x = w.op("embedding", [
    b.input("ids"),
    w.weight("embed.weight", [form.vocabulary, form.hidden]),
  ]);
  if (form.scale) x = w.map("a0 * a1", [x, w.weight("scale", [1], "f32")]);
  for (let i = 0; i < form.layers; i++) {
    const next = layer(b, w, form, x, `layers.${i}`);
    if (form.extraOutput && i === 0) b.output("attended", next.attended);
    x = next.x;
  }
  w.inScope("");
  const logits = logitsOf(w, form, x);
  b.output("logits", logits);
  if (form.sample) b.output("token", w.op("sample", [logits]));
  return b.build();
}

/** Random weights for every tensor a program names, bf16-exact, the same for the same seed. */
export function randomWeights(program: Program, seed: number): WeightSource {
  const shapes = new Map(program.weights.flatMap(({ value, parts }) =>
    parts.map(({ tensor, rows }) => {
      const { shape } = program.values[value]!.type;
      return [tensor, [rows, ...shape.slice(1).map(Number)]] as const;
    })));
  return (name) => {
    const shape = shapes.get(name);
    if (!shape) return null;
    let state = seed | 1;
    for (let i = 0; i < name.length; i++) {
      state = Math.imul(state ^ name.charCodeAt(i), 16777619);
    }
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => {
      state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9 | 0;
      return ((state >>> 8) % 257 - 128) / 128;
    });
    return { shape, data };
  };
}
