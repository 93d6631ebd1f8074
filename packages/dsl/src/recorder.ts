/** @file Records ops while a model function runs. Mutable, and never seen outside this package. */
import { ShapeError } from "@mpk/ir";
import type { Json, ProgramBuilder, ValueId } from "@mpk/ir";
import { callSite } from "./site.ts";

/** The state of one `defineModel` call. */
export interface Recorder {
  readonly builder: ProgramBuilder;
  /** Dotted scope that ops are recorded under. */
  scope: string;
  /** What a tensor was rounded to bf16 as, so that products of one tensor share one cast. */
  readonly rounded: WeakMap<object, object>;
  /** False once the model function has returned. */
  open: boolean;
}

/** What a tensor or cache of the DSL stands for. */
export interface Handle {
  readonly recorder: Recorder;
  readonly id: ValueId;
}

const handles = new WeakMap<object, Handle>();

export function attachHandle(object: object, handle: Handle): void {
  handles.set(object, handle);
}

/** Throws `ShapeError` at the user's line. */
export function fail(what: string, problem: string): never {
  const site = callSite();
  const where = site ? ` at ${site.file}:${site.line}:${site.column}` : "";
  throw new ShapeError(`${what}${where}: ${problem}`);
}

/** Runs a declaration, its `ShapeError` reported at the user's line. */
export function located<R>(what: string, run: () => R): R {
  try {
    return run();
  } catch (error) {
    if (error instanceof ShapeError) fail(what, error.message);
    throw error;
  }
}

/** The handle of an operand, which must belong to the model that is being recorded. */
export function handleOf(operand: unknown, recorder: Recorder | null, what: string): Handle {
  const handle = typeof operand === "object" && operand !== null ? handles.get(operand) : undefined;
  if (!handle) {
    const got = operand === null ? "null" : `another ${typeof operand}`;
    fail(what, `expected a tensor of the DSL, got ${got}; make it with weight, ids or an op`);
  }
  if (recorder && handle.recorder !== recorder) {
    fail(what, "an operand belongs to another model; use only what this model function was given");
  }
  if (!handle.recorder.open) {
    fail(what, "the model is already built; do all its work inside the function of defineModel");
  }
  return handle;
}

export interface Recorded {
  readonly kind: string;
  readonly inputs: readonly Handle[];
  readonly attrs?: { readonly [name: string]: Json };
  readonly states?: readonly Handle[];
}

/** Adds an op under the current scope, with the user's line. Throws `ShapeError`. */
export function record(recorder: Recorder, op: Recorded): readonly ValueId[] {
  return recorder.builder.op({
    kind: op.kind,
    inputs: op.inputs.map((input) => input.id),
    states: (op.states ?? []).map((state) => state.id),
    attrs: op.attrs ?? {},
    scope: recorder.scope,
    site: callSite(),
  });
}
