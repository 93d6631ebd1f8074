/** @file The tensors a model is written with: every method returns a new one. Types only. */
import type { Json } from "@mpk/ir";
import type { RopeScaling } from "@mpk/ops/semantics";
import type {
  Broadcast, BroadcastAll, BroadcastProblem, Checked, Columns, DType, Dim, LastRow, MatmulProblem,
  Problem, Rows, RowsProblem, SampleProblem, Shape, SplitProblem, Sum, VectorProblem,
} from "./shapes.ts";

/** Elementwise functions known by name; `gelu` with the error function, `geluTanh` without. */
export type Activation = "silu" | "gelu" | "geluTanh" | "relu" | "sigmoid" | "tanh";

/** Of `rope`: `headDim` columns rotate together, by angles of base `theta`. */
export interface RopeOptions {
  readonly headDim: number;
  /** Base of the frequencies. */
  readonly theta: number;
  readonly scaling?: RopeScaling;
}

/** Of `rmsNorm` and `layerNorm`. */
export interface NormOptions {
  /** Added to the mean square (or variance). */
  readonly eps: number;
  /** Columns that are normalized together, such as one head's; all of them where absent. */
  readonly width?: number;
}

/** Of `attention`; `positions` are the step's, `model.positions()`. */
export interface AttentionOptions {
  readonly positions: Positions;
  /** Multiplies the dot products; 1 / sqrt(headDim) where absent. */
  readonly scale?: number;
  /** A token sees itself and the `window - 1` before it; all of them where absent or null. */
  readonly window?: number | null;
}

/** Shape of a KV cache: a row has `kvHeads * headDim` columns, of keys and again of values. */
export interface KvSize {
  readonly kvHeads: number;
  readonly headDim: number;
}

/** One sequence's keys and values, kept across steps. Made by `kvCache`. */
export interface KvCache extends KvSize {
  readonly name: string;
}

/** `model.ids()`: i32 [T]. */
export type TokenIds = Tensor<readonly ["T"], "i32">;
/** `model.positions()`: i32 [T], consecutive. */
export type Positions = Tensor<readonly ["T"], "i32">;

/** The operand of an elementwise op: the same shape, a row [N], or one number [1]. */
type Operand<What extends string, X extends Tensor, B extends Tensor> =
  Checked<B, BroadcastProblem<What, X["shape"], B["shape"]>>;
type Common<X extends Tensor, B extends Tensor> = Tensor<Broadcast<X["shape"], B["shape"]>, "f32">;
/** A norm's parameter: as long as the columns that are normalized together. */
type Gain<What extends string, X extends Tensor, O extends NormOptions, G extends Tensor> =
  Checked<G, VectorProblem<What, O extends { readonly width: infer W extends number } ? W
    : Columns<X["shape"]>, G["shape"]>>;
type Same<X extends Tensor> = Tensor<X["shape"], "f32">;
type Part<X extends Tensor, N extends Dim> = Tensor<readonly [Rows<X["shape"]>, N], X["dtype"]>;
type Shapes<Ts extends readonly Tensor[]> = { [I in keyof Ts]: Ts[I]["shape"] };
type Numbers<Ts extends readonly Tensor[]> = { [I in keyof Ts]: number };
type Mapped<X extends Tensor, Ts extends readonly Tensor[]> =
  BroadcastAll<X["shape"], Shapes<Ts>>;

/**
 * A value of the step's program. Shapes are row-major; `T`, the step's token count, is always
 * first. Dims that are literals are checked by the compiler; all are checked by the op's shape
 * rule, which throws `ShapeError` with the line of the model's source. Immutable.
 *
 * (Methods take their own shape from `this`, so that a tensor is assignable wherever its shape is.)
 */
export interface Tensor<out S extends Shape = Shape, out D extends DType = DType> {
  readonly shape: S;
  readonly dtype: D;

  /**
   * [R, K] times a weight [N, K] (as Hugging Face stores it) → f32 [R, N]. The activation is cast
   * to bf16 first; the cast is an op of its own in the Program.
   */
  matmul<X extends Tensor, W extends Weight, B extends Tensor = Tensor<readonly [number]>>(
    this: X,
    weight: Checked<W, MatmulProblem<X["shape"], W["shape"]>>,
    options?: {
      readonly bias?: Checked<B, VectorProblem<"matmul: bias", Rows<W["shape"]>, B["shape"]>>;
    },
  ): Tensor<readonly [Rows<X["shape"]>, Rows<W["shape"]>], "f32">;

  /** x / rms(x) * gain over each row, or over each run of `width` columns → f32. */
  rmsNorm<X extends Tensor, G extends Tensor, const O extends NormOptions>(
    this: X, gain: Gain<"rmsNorm: gain", X, O, G>, options: O,
  ): Same<X>;
  /** (x - mean) / std * gain + bias over each row, or each run of `width` columns → f32. */
  layerNorm<
    X extends Tensor, G extends Tensor, B extends Tensor, const O extends NormOptions,
  >(
    this: X, gain: Gain<"layerNorm: gain", X, O, G>, bias: Gain<"layerNorm: bias", X, O, B>,
    options: O,
  ): Same<X>;
  /** Rotary position embedding of each head of [T, heads * headDim] (rotate-half form). */
  rope<X extends Tensor>(this: X, positions: Positions, options: RopeOptions): Same<X>;
  /**
   * Causal attention of queries [T, heads * headDim] over the cache and this step's keys and
   * values [T, kvHeads * headDim], which are appended to it as bf16. `heads` must be a multiple
   * of `kvHeads`: each group of heads / kvHeads queries shares a key head.
   */
  attention<X extends Tensor, K extends Tensor, V extends Tensor>(
    this: X, keys: K, values: Operand<"attention: keys and values", K, V>, cache: KvCache,
    options: AttentionOptions,
  ): Same<X>;

  /** Applies a function known by name at every element. */
  activate<X extends Tensor>(this: X, activation: Activation): Same<X>;
  /** x * sigmoid(x). */
  silu<X extends Tensor>(this: X): Same<X>;
  /** Gaussian error linear unit: with the error function, or its tanh approximation. */
  gelu<X extends Tensor>(this: X, form?: "erf" | "tanh"): Same<X>;
  /** activation(this) * up, as one op. */
  gated<X extends Tensor, B extends Tensor>(
    this: X, activation: Activation, up: Operand<"gated", X, B>,
  ): Common<X, B>;
  add<X extends Tensor, B extends Tensor>(this: X, other: Operand<"add", X, B>): Common<X, B>;
  sub<X extends Tensor, B extends Tensor>(this: X, other: Operand<"sub", X, B>): Common<X, B>;
  mul<X extends Tensor, B extends Tensor>(this: X, other: Operand<"mul", X, B>): Common<X, B>;
  div<X extends Tensor, B extends Tensor>(this: X, other: Operand<"div", X, B>): Common<X, B>;
  /** Times a constant. */
  scale<X extends Tensor>(this: X, factor: number): Same<X>;
  /**
   * An elementwise op given as an arrow function of one number a tensor. Its source text is
   * translated (see docs/map.md), so it may use only its parameters. Throws `ShapeError` naming
   * the offending token.
   */
  map<X extends Tensor, const Ts extends readonly Tensor[]>(
    this: X,
    fn: (x: number, ...others: Numbers<Ts>) => number,
    ...others: [Mapped<X, Ts>] extends [never]
      ? readonly Problem<"map: an operand's shape does not fit">[] : Ts
  ): Tensor<Mapped<X, Ts>, "f32">;
  /** Softmax over each row, or each run of `width` columns → f32. */
  softmax<X extends Tensor>(this: X, options?: { readonly width?: number }): Same<X>;

  /** Columns `start` to `start + size`: a view [R, size]. */
  slice<X extends Tensor, const N extends number>(this: X, start: number, size: N): Part<X, N>;
  /** Cuts the columns into consecutive views of the sizes given. */
  split<X extends Tensor, const Ns extends readonly number[]>(
    this: X, sizes: Checked<Ns, SplitProblem<X["shape"], Ns>>,
  ): { readonly [I in keyof Ns]: Part<X, Ns[I]> };
  /** Columns side by side → [R, sum of columns]. */
  concat<X extends Tensor, B extends Tensor>(
    this: X, other: Checked<B, RowsProblem<"concat", X["shape"], B["shape"]>>,
  ): Part<X, Sum<[Columns<X["shape"]>, Columns<B["shape"]>]>>;
  /** The same columns under other dims; the first dim stays. A view. */
  reshape<X extends Tensor, const R extends Shape>(this: X, ...shape: R): Tensor<R, X["dtype"]>;
  /** The row of the step's last token: a view [1, ...]. */
  last<X extends Tensor>(this: X): Tensor<LastRow<X["shape"]>, X["dtype"]>;
  cast<X extends Tensor, const To extends DType>(this: X, to: To): Tensor<X["shape"], To>;

  /** The column of each row's maximum, the lowest among equals → i32 [R]. */
  argmax<X extends Tensor>(this: X): Tensor<readonly [Rows<X["shape"]>], "i32">;
  /**
   * Chooses the next token from logits [1, V] → i32 [1]. Temperature, top-k, top-p and seed are
   * data of the step, not of the model.
   */
  sample<X extends Tensor>(this: Checked<X, SampleProblem<X["shape"]>>):
    Tensor<readonly [1], "i32">;
  /** The sum over all devices; the identity on one. */
  allReduce<X extends Tensor>(this: X): Tensor<X["shape"], X["dtype"]>;
}

/** A tensor of the checkpoint, bf16. */
export interface Weight<out S extends Shape = Shape> extends Tensor<S, "bf16"> {
  readonly name: string;
  /** Rows of the table [V, H] by token id → f32 [T, H]. */
  lookup<W extends Weight>(
    this: W, ids: TokenIds,
  ): Tensor<readonly ["T", Columns<W["shape"]>], "f32">;
}

/** A part of a model: gives weights and states their names, and ops their scope. */
export interface Scope {
  /** A bf16 tensor of the checkpoint. The same name always means the same weight. */
  weight<const S extends Shape>(name: string, shape: S): Weight<S>;
  /** A KV cache of this scope; `name` tells several apart. */
  kvCache(size: KvSize, name?: string): KvCache;
  /** A scope within this one; `weights` is the prefix of weight names, `name` if absent. */
  scope<R>(name: string, body: (scope: Scope) => R, weights?: string): R;
  /** Any op of the table, by name: for ops of one's own. Gives its outputs. */
  op(
    kind: string, inputs: readonly Tensor[], attrs?: { readonly [name: string]: Json },
    states?: readonly KvCache[],
  ): readonly Tensor[];
}

export interface LayerScope extends Scope {
  /** From 0. */
  readonly index: number;
}

/** What a model function receives. */
export interface Model extends Scope {
  /** Token ids of the step, i32 [T]. */
  ids(): TokenIds;
  /** Their absolute positions in the sequence, i32 [T]; consecutive. */
  positions(): Positions;
  /**
   * Runs `body` for each layer on the previous one's result. Scopes are `layers.0`, `layers.1`, …
   * and weight names begin with `model.layers.0.`, …, or with `weights` for `model.layers`.
   */
  layers<X>(
    count: number, x: X, body: (layer: LayerScope, x: X) => X,
    options?: { readonly weights?: string },
  ): X;
}
