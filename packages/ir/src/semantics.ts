/** @file The semantics contract: what an op means, apart from how it is scheduled or emitted. */
import type { Json, StepInput, TensorType, ValueId } from "./types.ts";

/** What passes and the scheduler may assume of an op. Passes match these, never names. */
export interface Traits {
  /** Each output element depends only on the inputs' elements at the same (broadcast) index. */
  readonly pointwise: boolean;
  /** Sums products over an inner dimension; its weight operand is streamed. */
  readonly contraction: boolean;
  /** Normalizes each row by its own statistics: may be folded into a consumer's prologue. */
  readonly rowNorm: boolean;
  /** Changes only shape or extent: no arithmetic. */
  readonly view: boolean;
  /** Changes only the number format. */
  readonly cast: boolean;
  /** Reads or writes per-sequence state. */
  readonly stateful: boolean;
  /** Has an effect beyond its outputs (token choice): never dead. */
  readonly effect: boolean;
}

/** A tensor at run time. `bf16` values are held in float32, already rounded if rounding is on. */
export interface Tensor {
  readonly type: TensorType;
  /** Concrete shape: `T` replaced by this step's token count. */
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
}

/** Float32 result with casts ignored, or with every cast to bf16 rounding to nearest even. */
export type Precision = "f32" | "bf16";

/** KV rows of one sequence: append and read by absolute position. */
export interface KvState {
  readonly kvHeads: number;
  readonly headDim: number;
  /**
   * Stores columns [lo, lo + k.length) of [kvHeads * headDim] at the precision of the run; `lo` is
   * 0 where it is not given. The other columns of the position stay as they are.
   */
  write(position: number, k: Float32Array, v: Float32Array, lo?: number): void;
  /** The position's whole row, [kvHeads * headDim]. Not to be written to. */
  k(position: number): Float32Array;
  v(position: number): Float32Array;
}

/** How the next token is chosen; data of a step, not part of the Program. */
export interface Sampling {
  /** 0: greedy (lowest id among equals). */
  readonly temperature: number;
  /** 0: off. */
  readonly topK: number;
  /** 1: off. */
  readonly topP: number;
  readonly seed: bigint;
}

/** What `evaluate` sees besides its inputs: the step, and states by their value id. */
export interface EvalContext {
  readonly precision: Precision;
  /** Token count of this step. */
  readonly tokens: number;
  readonly inputs: Readonly<Record<StepInput, Int32Array>>;
  readonly sampling: Sampling;
  state(id: ValueId): KvState;
}

/** The meaning of one op, with attributes of type `A`: shape rule, reference result, traits. */
export interface OpSemantics<A = unknown> {
  readonly name: string;
  /** One sentence for docs. */
  readonly summary: string;
  readonly traits: Traits;
  /** Validates JSON attributes; throws `ShapeError` naming the attribute. */
  parseAttrs(attrs: { readonly [key: string]: Json }): A;
  /** Shape rule. Throws `ShapeError` with expected, got and the likely fix. */
  infer(attrs: A, inputs: readonly TensorType[]): readonly TensorType[];
  /** The reference result. float32 arithmetic; float64 accumulation is allowed. */
  evaluate(
    attrs: A,
    inputs: readonly Tensor[],
    ctx: EvalContext,
    states: readonly ValueId[],
  ): readonly Tensor[];
}

/** Ops by name. */
export type SemanticsTable = ReadonlyMap<string, OpSemantics<never>>;

/** In place of a token's id where none can be chosen: every logit is NaN. In no vocabulary. */
export const noToken = 0x7fff_ffff;

/** No token can be chosen. The caller adds op and step. */
export class NoTokenError extends Error {
  override readonly name = "NoTokenError";

  constructor() {
    super("no token could be chosen: the logits are not numbers (NaN)");
  }
}

/** Wrong shapes, types or attributes. The caller adds op name and call site. */
export class ShapeError extends Error {
  override readonly name = "ShapeError";
}
