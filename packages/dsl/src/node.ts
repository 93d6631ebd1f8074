/** @file The tensors' implementation: each method records one op, or two, and wraps the result. */
import { exprToJson } from "@mpk/ir";
import type { DType, Dim, Expr, Json, ValueId } from "@mpk/ir";
import { activations, arg, binary, constant } from "./activations.ts";
import { parseMapFunction } from "./map.ts";
import { attachHandle, fail, handleOf, located, record } from "./recorder.ts";
import type { Handle, Recorder } from "./recorder.ts";
import type {
  Activation, AttentionOptions, KvCache, NormOptions, RopeOptions, Tensor, Weight,
} from "./tensor.ts";

type Attrs = { readonly [name: string]: Json };
type Mapped = (...numbers: number[]) => number;
type Methods = Record<Exclude<keyof Weight, "name">, unknown>;

const columnsOf = (shape: readonly Dim[]): number =>
  shape.slice(1).reduce<number>((product, dim) => product * Number(dim), 1);

/** A name that the types did not check, as in a model of plain JavaScript. */
function activationOf(name: Activation): (x: Expr) => Expr {
  if (Object.hasOwn(activations, name)) return activations[name];
  return fail("activate", `there is no activation ${name}; take ${Object.keys(activations).join(", ")}`);
}

/**
 * One class for every shape: the interface `Tensor` gives it its types, the op table's shape
 * rules check it. Frozen; what it stands for is known to this package alone.
 */
class TensorNode implements Methods {
  readonly shape: readonly Dim[];
  readonly dtype: DType;
  /** Weights only: the checkpoint's name. */
  readonly name?: string;

  constructor(handle: Handle, name?: string) {
    const { shape, dtype } = handle.recorder.builder.typeOf(handle.id);
    this.shape = shape;
    this.dtype = dtype;
    if (name !== undefined) this.name = name;
    attachHandle(this, handle);
    Object.freeze(this);
  }

  matmul(weight: TensorNode, options: { readonly bias?: TensorNode } = {}): TensorNode {
    const product = this.#rounded().#op("linear", [weight], {
      groups: 1, norm: null, round: null, lastRow: false, epilogue: exprToJson(arg(0)), out: "f32",
    });
    return options.bias ? product.add(options.bias) : product;
  }

  rmsNorm(gain: TensorNode, { eps, width }: NormOptions): TensorNode {
    return this.#op("rmsNorm", [gain], { eps, width: width ?? columnsOf(this.shape) });
  }

  layerNorm(gain: TensorNode, bias: TensorNode, { eps, width }: NormOptions): TensorNode {
    return this.#op("layerNorm", [gain, bias], { eps, width: width ?? columnsOf(this.shape) });
  }

  rope(positions: Tensor, { headDim, theta, scaling = { kind: "none" } }: RopeOptions): TensorNode {
    return this.#op("rope", [positions], { headDim, theta, scaling });
  }

  attention(
    keys: TensorNode, values: TensorNode, cache: KvCache, options: AttentionOptions,
  ): TensorNode {
    const { recorder } = handleOf(this, null, "attention");
    const { kvHeads, headDim } = cache;
    const columns = columnsOf(this.shape);
    if (columns % headDim !== 0) {
      fail("attention", `the queries' ${columns} columns are not a multiple of headDim ${headDim}`);
    }
    const attrs = {
      heads: columns / headDim, kvHeads, headDim, scale: options.scale ?? 1 / Math.sqrt(headDim),
      window: options.window ?? null, qkNorm: null, rope: null,
    };
    return this.#op(
      "attention", [keys, values, options.positions], attrs,
      [handleOf(cache, recorder, "attention")],
    );
  }

  activate(activation: Activation): TensorNode {
    return this.#pointwise([], activationOf(activation)(arg(0)));
  }

  silu(): TensorNode {
    return this.activate("silu");
  }

  gelu(form: "erf" | "tanh" = "erf"): TensorNode {
    return this.activate(form === "tanh" ? "geluTanh" : "gelu");
  }

  gated(activation: Activation, up: TensorNode): TensorNode {
    return this.#pointwise([up], binary("mul", activationOf(activation)(arg(0)), arg(1)));
  }

  add(other: TensorNode): TensorNode {
    return this.#pointwise([other], binary("add", arg(0), arg(1)));
  }

  sub(other: TensorNode): TensorNode {
    return this.#pointwise([other], binary("sub", arg(0), arg(1)));
  }

  mul(other: TensorNode): TensorNode {
    return this.#pointwise([other], binary("mul", arg(0), arg(1)));
  }

  div(other: TensorNode): TensorNode {
    return this.#pointwise([other], binary("div", arg(0), arg(1)));
  }

  scale(factor: number): TensorNode {
    return this.#pointwise([], binary("mul", arg(0), constant(factor)));
  }

  map(fn: Mapped, ...others: TensorNode[]): TensorNode {
    if (typeof fn !== "function") fail("map", `expected an arrow function, got ${String(fn)}`);
    const { expr, parameters } = located("map", () => parseMapFunction(String(fn)));
    if (parameters > others.length + 1) {
      fail("map", `the function has ${parameters} parameters for ${others.length + 1} tensors`);
    }
    return this.#pointwise(others, expr);
  }

  softmax({ width }: { readonly width?: number } = {}): TensorNode {
    return this.#op("softmax", [], { width: width ?? columnsOf(this.shape) });
  }

  slice(start: number, size: number): TensorNode {
    return this.#op("slice", [], { start, size });
  }

  split(sizes: readonly number[]): readonly TensorNode[] {
    const sum = sizes.reduce((total, size) => total + size, 0);
    const columns = columnsOf(this.shape);
    if (sum !== columns) {
      fail("split", `parts have ${sum} columns in all, the tensor has ${columns}`);
    }
    let start = 0;
    return Object.freeze(sizes.map((size) => {
      start += size;
      return this.slice(start - size, size);
    }));
  }

  concat(other: TensorNode): TensorNode {
    return this.#op("concat", [other]);
  }

  reshape(...shape: readonly Dim[]): TensorNode {
    return this.#op("reshape", [], { shape });
  }

  last(): TensorNode {
    return this.#op("lastRow", []);
  }

  cast(to: DType): TensorNode {
    return this.#op("cast", [], { to });
  }

  argmax(): TensorNode {
    return this.#op("argmax", []);
  }

  sample(): TensorNode {
    return this.#op("sample", []);
  }

  allReduce(): TensorNode {
    return this.#op("allReduce", [], { reduce: "sum" });
  }

  lookup(ids: Tensor): TensorNode {
    const table = handleOf(this, null, "lookup");
    const inputs = [handleOf(ids, table.recorder, "lookup"), table];
    return only(table.recorder, record(table.recorder, { kind: "embedding", inputs }));
  }

  /** This tensor in bf16; products of one tensor share the cast. */
  #rounded(): TensorNode {
    if (this.dtype === "bf16") return this;
    const { rounded } = handleOf(this, null, "matmul").recorder;
    const known = rounded.get(this);
    if (known instanceof TensorNode) return known;
    const cast = this.cast("bf16");
    rounded.set(this, cast);
    return cast;
  }

  #pointwise(others: readonly TensorNode[], expr: Expr): TensorNode {
    return this.#op("pointwise", others, { expr: exprToJson(expr), out: "f32" });
  }

  #op(
    kind: string, others: readonly object[], attrs: Attrs = {}, states: readonly Handle[] = [],
  ): TensorNode {
    const self = handleOf(this, null, kind);
    const { recorder } = self;
    const inputs = [self, ...others.map((other) => handleOf(other, recorder, kind))];
    return only(recorder, record(recorder, { kind, inputs, attrs, states }));
  }
}

function only(recorder: Recorder, ids: readonly ValueId[]): TensorNode {
  const [id] = ids;
  if (id === undefined) throw new TypeError("the op has no output");
  return new TensorNode({ recorder, id });
}

/** A value of the program, as the tensor that the user sees. */
export const tensorOf = (recorder: Recorder, id: ValueId): Tensor =>
  new TensorNode({ recorder, id }) as unknown as Tensor;

/** A weight of the program, as the user sees it. */
export const weightOf = (recorder: Recorder, id: ValueId, name: string): Weight =>
  new TensorNode({ recorder, id }, name) as unknown as Weight;
