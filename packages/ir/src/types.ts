/** @file The IR's grammar: a Program is frozen data, behaviour is functions over it. */

/** A size: a number, or a symbol that a step binds. `T` is the number of tokens in the step. */
export type Dim = number | "T";

/** Number formats of values. `i32` holds token ids and positions. */
export type DType = "f32" | "bf16" | "i32";

/** Bytes of one element. */
export const dtypeBytes = { f32: 4, bf16: 2, i32: 4 } as const satisfies Record<DType, number>;

/** The type of a value: its number format and dims. */
export interface TensorType {
  readonly dtype: DType;
  /** Row-major. `T`, where present, is always the first dim. */
  readonly shape: readonly Dim[];
}

/** Where in the user's model source an op was written. */
export interface CallSite {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Index of a value in `Program.values`. */
export type ValueId = number;

/** What a value is before any op runs, or `op` when an op defines it. */
export type ValueOrigin =
  | { readonly kind: "op" }
  /** Step data: given anew each step through the step descriptor. */
  | { readonly kind: "input"; readonly input: StepInput }
  | { readonly kind: "weight" }
  | { readonly kind: "state" };

/**
 * Step inputs. `ids` i32 [T]: token ids; `positions` i32 [T]: absolute positions in the sequence.
 * Positions of one step are consecutive.
 */
export type StepInput = "ids" | "positions";

/** One SSA value: made once, by an op, an input, a weight or a state. */
export interface Value {
  readonly id: ValueId;
  readonly name: string;
  readonly type: TensorType;
  readonly origin: ValueOrigin;
}

/** One of `of` equal slices of a tensor, along its rows (axis 0) or columns (1). */
export interface Slice {
  readonly axis: 0 | 1;
  readonly index: number;
  readonly of: number;
}

/** A tensor of the checkpoint, or a slice of one: `rows` are those that the weight takes. */
export interface WeightPart {
  readonly tensor: string;
  readonly rows: number;
  /** Absent: the whole tensor. */
  readonly slice?: Slice;
}

/**
 * A weight: a stack, along axis 0, of tensors of the checkpoint. Merging projections is merging
 * part lists. Every part has the weight's shape but for axis 0.
 */
export interface Weight {
  readonly value: ValueId;
  readonly parts: readonly WeightPart[];
}

/** Per-sequence state that persists across steps: a KV cache, `slots` x `width` bf16 pairs. */
export interface State {
  readonly value: ValueId;
  readonly kind: "kv";
  readonly kvHeads: number;
  readonly headDim: number;
}

/** Plain JSON, so that programs print, parse, save and hash. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json };

/** One op of a Program: what it is in the op table, and the values that it takes and makes. */
export interface Op {
  /** Name in the op table. */
  readonly kind: string;
  readonly inputs: readonly ValueId[];
  readonly outputs: readonly ValueId[];
  /** States read and written in place. */
  readonly states: readonly ValueId[];
  /** Validated by the op's semantics. */
  readonly attrs: { readonly [key: string]: Json };
  /** Dotted scope such as `layers.3.attn`. */
  readonly scope: string;
  readonly site: CallSite | null;
}

/** A model's step as frozen data: ops in an order in which they can run, and their values. */
export interface Program {
  readonly name: string;
  /** Declared maxima: everything proven holds for 1 <= T <= maxTokens, context <= maxContext. */
  readonly limits: { readonly maxTokens: number; readonly maxContext: number };
  readonly values: readonly Value[];
  readonly weights: readonly Weight[];
  readonly states: readonly State[];
  /** In dependency order (SSA). */
  readonly ops: readonly Op[];
  /** Named results, e.g. `logits`, `token`. */
  readonly outputs: { readonly [name: string]: ValueId };
}

/**
 * A scalar expression: the body of a pointwise op and of a linear's epilogue. One tree gives the
 * reference result and the CUDA text. All arithmetic is float32.
 */
export type Expr =
  | { readonly op: "arg"; readonly index: number }
  | { readonly op: "const"; readonly value: number }
  | { readonly op: UnaryOp; readonly x: Expr }
  | { readonly op: BinaryOp; readonly x: Expr; readonly y: Expr }
  | { readonly op: CompareOp; readonly x: Expr; readonly y: Expr }
  | { readonly op: "select"; readonly cond: Expr; readonly x: Expr; readonly y: Expr }
  /** An explicit rounding: what the interpreter does for a cast op, inside an expression. */
  | { readonly op: "round"; readonly to: DType; readonly x: Expr };

/** Functions of one float32. */
export type UnaryOp =
  | "neg" | "abs" | "exp" | "log" | "sqrt" | "rsqrt" | "tanh" | "sigmoid" | "erf"
  | "sin" | "cos" | "floor" | "ceil";
/** Functions of two float32. */
export type BinaryOp = "add" | "sub" | "mul" | "div" | "min" | "max" | "pow";
/** 1 or 0. NaN compares as in IEEE 754. */
export type CompareOp = "lt" | "le" | "gt" | "ge" | "eq" | "ne";
