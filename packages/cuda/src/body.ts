/** @file The body contract: what the emitter asks of an op to put its task into the kernel. */
import type { DType, Expr, StepInput } from "@mpk/ir";
import type { OpInstance, RingSpec, StreamLayout } from "@mpk/schedule";

/** How a body reaches an operand. Its address word has the operand's index (see `BodyEnv`). */
export interface BodyOperand {
  /** `step`: token ids and positions, in the step descriptor. `stream`: comes through the ring. */
  readonly arena: "scratch" | "resident" | "step" | "stream";
  readonly dtype: DType;
  /** Which step input it is, in the `step` arena. */
  readonly step: StepInput | null;
  /** Columns of one row of the operand. */
  readonly columns: number;
  /** Elements from one row to the next in memory (views keep their base's). */
  readonly stride: number;
  /** First column of a view in its base's rows. */
  readonly column: number;
  /** `T`: one row per token; 1: one row, or a weight without rows. */
  readonly rows: "T" | number;
  /** A view of the last token's row alone. */
  readonly lastRow: boolean;
  /** Index of the operand's address word. */
  readonly word: number;
  /**
   * float32 that steps of a few tokens, but not of one, hand over as bf16: `bf16` as all readers round it,
   * `terms` in two terms, rows of the first before those of the second, since some add it up.
   */
  readonly few?: "bf16" | "terms";
  /** Index of the address word of its copy, where steps of one token hand it over by flags. */
  readonly flag: number | null;
}

/** What a body's `view` may know of its place in the plan. */
export interface BodyEnv {
  readonly inputs: readonly BodyOperand[];
  readonly outputs: readonly BodyOperand[];
  readonly states: readonly { readonly word: number; readonly kvHeads: number }[];
  readonly layout: StreamLayout | null;
  readonly ring: RingSpec;
  readonly maxTokens: number;
  /** Shared memory a body may use between two tasks: activations and both partial buffers. */
  readonly workBytes: number;
  /** Positions per KV page. */
  readonly pageTokens: number;
  readonly vocab: number;
  /** An expression as C++: `args[i]` is the text of argument i. */
  expression(expr: Expr, args: readonly string[]): string;
  /**
   * One element of an operand as a float in C++; `row` and `column` are C++ text. Operands with one
   * row or one column broadcast.
   */
  element(operand: BodyOperand, row: string, column: string): string;
  /** The same in a step of one token, awaiting the element's word where it is flagged. */
  elementOfOne(operand: BodyOperand, column: string): string;
  /** The plan has flagged values: bodies that can have them say so in their constants. */
  readonly flags: boolean;
  /** C type of an operand's elements. */
  type(operand: BodyOperand): string;
  /** A float32 constant as C++. */
  float(value: number): string;
}

/** What a template sees; every name it uses must be here. */
export type BodyView = { readonly [name: string]: Shown | readonly unknown[] | BodyFacts };
type Shown = string | number | boolean;
type BodyFacts = { readonly [name: string]: Shown };

/** The CUDA body of one op: the fourth facet. TypeScript decides, the template prints. */
export interface OpBody<A = unknown> {
  /**
   * A nunjucks template that defines `struct {{ name }}`, the constants of one op instance. Bodies
   * that render alike are emitted once. A function, so that importing a table reads no files.
   */
  template(): string;
  /** The device function, a template over that struct: called as `run_<name>(c, in)`. */
  readonly run: string | ((op: OpInstance<A>) => string);
  /** Everything the template needs, decided here. Throws where the body has no such case. */
  view(op: OpInstance<A>, env: BodyEnv): BodyView;
}

/** Bodies by op name; a table does not know its ops' attributes, hence `never`. */
export type BodyTable = ReadonlyMap<string, OpBody<never>>;
