/** @file The reference interpreter: what a Program means, step by step, with KV state kept. */
import { opText } from "./describe.ts";
import { createKvState } from "./kv.ts";
import { tensorOf } from "./numerics.ts";
import { NoTokenError, noToken, ShapeError } from "./semantics.ts";
import type {
  EvalContext, KvState, OpSemantics, Precision, Sampling, SemanticsTable, Tensor,
} from "./semantics.ts";
import type { Op, Program, ValueId } from "./types.ts";
import { assertProgram } from "./verify.ts";
import { loadWeights } from "./weights.ts";
import type { WeightSource } from "./weights.ts";

/** The token of highest logit, lowest id among equals. */
export const greedy: Sampling = Object.freeze({ temperature: 0, topK: 0, topP: 1, seed: 0n });

/** How `createInterpreter` computes. */
export interface InterpreterOptions {
  /** Where the checkpoint's tensors come from. */
  readonly weights: WeightSource;
  /** "f32" ignores every cast to bf16, "bf16" rounds at each. */
  readonly precision: Precision;
  /** Returns every value of a step, not only the outputs. Off by default: values are dropped. */
  readonly keepValues?: boolean;
}

/** What goes into one step. */
export interface StepRequest {
  /** Token ids, 1 to `maxTokens` of them. */
  readonly ids: ArrayLike<number>;
  /** Positions of the first token on, consecutive; where absent, the sequence goes on. */
  readonly positions?: ArrayLike<number>;
  /** Greedy where absent. */
  readonly sampling?: Sampling;
}

/** What comes out of one step: the Program's outputs by name. */
export interface StepResult {
  readonly outputs: { readonly [name: string]: Tensor };
  /** Every value by id if `keepValues`, else empty. */
  readonly values: ReadonlyMap<ValueId, Tensor>;
}

/** A Program and one sequence's state: each step goes on from the one before. */
export interface Interpreter {
  /**
   * Runs one step. A position that was computed before may be computed again: what follows it is
   * forgotten. Throws `StepError` for ids or positions out of range, or an op's failure.
   */
  step(request: StepRequest): StepResult;
  /** Positions computed so far. */
  readonly length: number;
  /** Forgets the sequence. */
  reset(): void;
}

/** A step that cannot run: ids or positions out of range, or an op that failed. */
export class StepError extends Error {
  override readonly name = "StepError";
}

/** An op bound to its meaning, its attributes validated once. */
interface BoundOp {
  readonly op: Op;
  run(inputs: readonly Tensor[], ctx: EvalContext): readonly Tensor[];
  /** Chooses the next token. */
  readonly effect: boolean;
  /** Values that no later op reads. */
  readonly lastUses: readonly ValueId[];
}

/**
 * An interpreter of one sequence. Throws `ProgramError` where the program is not valid, and
 * `WeightError` where a checkpoint tensor is missing or has another shape than its weight.
 */
export function createInterpreter(
  program: Program,
  table: SemanticsTable,
  options: InterpreterOptions,
): Interpreter {
  assertProgram(program, table);
  const weights = loadWeights(program, options.weights, options.precision);
  const bound = bindOps(program, table);
  const vocabulary = vocabularyOf(program);
  let states = freshStates(program, options.precision);
  let length = 0;

  function step(request: StepRequest): StepResult {
    const { ids, positions } = checkStep(program, vocabulary, length, request);
    const { sampling = greedy } = request;
    const tokens = ids.length;
    const ctx: EvalContext = {
      precision: options.precision,
      tokens,
      inputs: { ids, positions },
      sampling,
      state(id) {
        const state = states.get(id);
        if (!state) throw new StepError(`value ${id} is not a state of the program`);
        return state;
      },
    };
    const live = new Map(weights);
    for (const { id, type, origin } of program.values) {
      if (origin.kind === "input") live.set(id, tensorOf(type, tokens, ctx.inputs[origin.input]));
    }
    for (const boundOp of bound) runOp(boundOp, live, ctx, options.keepValues ?? false);
    length = (positions[0] ?? 0) + tokens;
    const outputs = Object.entries(program.outputs).map(([name, id]) => [name, read(live, id)]);
    return {
      outputs: Object.fromEntries(outputs),
      values: options.keepValues ? live : new Map(),
    };
  }

  return Object.freeze<Interpreter>({
    step,
    get length() {
      return length;
    },
    reset() {
      states = freshStates(program, options.precision);
      length = 0;
    },
  });
}

function read(live: ReadonlyMap<ValueId, Tensor>, id: ValueId): Tensor {
  const tensor = live.get(id);
  if (!tensor) throw new StepError(`value ${id} has not been computed`);
  return tensor;
}

function runOp(
  bound: BoundOp,
  live: Map<ValueId, Tensor>,
  ctx: EvalContext,
  keepValues: boolean,
): void {
  const { op } = bound;
  const inputs = op.inputs.map((id) => read(live, id));
  let results: readonly Tensor[];
  try {
    results = bound.run(inputs, ctx);
  } catch (error) {
    throw stepFailure(op, ctx, error);
  }
  op.outputs.forEach((id, i) => {
    const result = results[i];
    if (!result) throw new StepError(`${opText(op)}: gave no output ${i}`);
    if (bound.effect && result.data[0] === noToken) throw stepFailure(op, ctx, new NoTokenError());
    live.set(id, result);
  });
  if (!keepValues) for (const id of bound.lastUses) live.delete(id);
}

function stepFailure(op: Op, ctx: EvalContext, error: unknown): unknown {
  if (error instanceof ShapeError) {
    return new StepError(`${opText(op)}: ${error.message}`, { cause: error });
  }
  if (!(error instanceof NoTokenError)) return error;
  const where = `${opText(op)}, in the step at position ${ctx.inputs.positions[0]}`;
  return new StepError(`${where}: ${error.message}`, { cause: error });
}

function bindOps(program: Program, table: SemanticsTable): readonly BoundOp[] {
  const kept = new Set(Object.values(program.outputs));
  const lastUser = new Map<ValueId, number>();
  program.ops.forEach((op, index) => {
    for (const id of [...op.outputs, ...op.inputs]) lastUser.set(id, index);
  });
  return program.ops.map((op, index) => {
    const semantics: OpSemantics<never> | undefined = table.get(op.kind);
    if (!semantics) throw new StepError(`${opText(op)}: not in the op table`);
    const attrs = semantics.parseAttrs(op.attrs);
    const mentioned = [...new Set([...op.outputs, ...op.inputs])];
    return {
      op,
      effect: semantics.traits.effect,
      run: (inputs, ctx) => semantics.evaluate(attrs, inputs, ctx, op.states),
      lastUses: mentioned.filter((id) => lastUser.get(id) === index && !kept.has(id)),
    };
  });
}

function freshStates(program: Program, precision: Precision): Map<ValueId, KvState> {
  return new Map(program.states.map((state) => [state.value, createKvState(state, precision)]));
}

/** Rows of the smallest matrix that an op looks ids up in, or null where none does. */
function vocabularyOf(program: Program): number | null {
  const isIds = (id: ValueId): boolean => {
    const origin = program.values[id]?.origin;
    return origin?.kind === "input" && origin.input === "ids";
  };
  const rows = program.ops
    .filter((op) => op.inputs.some(isIds))
    .flatMap((op) => op.inputs.map((id) => program.values[id]))
    .filter((value) => value?.origin.kind === "weight" && value.type.shape.length === 2)
    .map((value) => Number(value?.type.shape[0]));
  return rows.length > 0 ? Math.min(...rows) : null;
}

function checkStep(
  program: Program,
  vocabulary: number | null,
  length: number,
  request: StepRequest,
): { readonly ids: Int32Array; readonly positions: Int32Array } {
  const ids = Array.from(request.ids);
  const positions = request.positions
    ? Array.from(request.positions)
    : ids.map((_, i) => length + i);
  const { maxTokens, maxContext } = program.limits;
  if (ids.length < 1 || ids.length > maxTokens) {
    throw new StepError(
      `a step takes 1 to ${maxTokens} tokens, got ${ids.length}; split the prompt into steps`,
    );
  }
  if (positions.length !== ids.length) {
    throw new StepError(`got ${positions.length} positions for ${ids.length} token ids`);
  }
  ids.forEach((id, i) => {
    const known = Number.isInteger(id) && id >= 0 && id < (vocabulary ?? Infinity);
    const range = vocabulary === null ? "0 or more" : `0 to ${vocabulary - 1}`;
    if (!known) throw new StepError(`token ${i} has id ${id}; ids of this model are ${range}`);
  });
  const first = positions[0] ?? 0;
  if (!Number.isInteger(first) || first < 0 || first > length) {
    throw new StepError(`the first position is ${first}; it can be 0 to ${length}`);
  }
  positions.forEach((position, i) => {
    if (position === first + i) return;
    throw new StepError(`position ${i} is ${position}; positions are consecutive from ${first}`);
  });
  if (first + ids.length > maxContext) {
    throw new StepError(
      `position ${first + ids.length - 1} is beyond the context of ${maxContext} tokens`,
    );
  }
  return { ids: Int32Array.from(ids), positions: Int32Array.from(positions) };
}
