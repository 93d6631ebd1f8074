/** @file defineModel: runs a model function and gives the Program that it wrote. */
import { createBuilder } from "@mpk/ir";
import type { Dim, Program, SemanticsTable } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops/semantics";
import { tensorOf, weightOf } from "./node.ts";
import { attachHandle, fail, handleOf, located, record } from "./recorder.ts";
import type { Recorder } from "./recorder.ts";
import type {
  KvCache, LayerScope, Model, Positions, Scope, Tensor, TokenIds, Weight,
} from "./tensor.ts";

/** What `defineModel` must know before the model function runs. */
export interface ModelOptions {
  readonly name: string;
  /** The Program holds for steps of 1 to `maxTokens` tokens and contexts up to `maxContext`. */
  readonly limits: { readonly maxTokens: number; readonly maxContext: number };
  /** The ops there are; those of `@mpk/ops` where absent. */
  readonly ops?: SemanticsTable;
}

const joined = (...parts: readonly string[]): string =>
  parts.filter((part) => part !== "").join(".");

/** Sizes often come from a file or a division. Throws `ShapeError` at the user's line. */
function checkShape(name: string, shape: readonly Dim[]): void {
  const wrong = shape.find((dim) => typeof dim !== "number" || !Number.isInteger(dim) || dim < 1);
  if (wrong === undefined) return;
  fail("weight", `${name} is [${shape.join(", ")}]; every size is a whole number of 1 or more`);
}

/** Scopes are values; the recorder remembers which one the running body belongs to. */
function scopeOf(recorder: Recorder, path: string, weights: string): Scope {
  return Object.freeze<Scope>({
    weight: (name, shape) => {
      const full = joined(weights, name);
      checkShape(full, shape);
      const id = located("weight", () => recorder.builder.weight(full, { dtype: "bf16", shape }));
      return weightOf(recorder, id, full) as Weight<typeof shape>;
    },
    kvCache: ({ kvHeads, headDim }, name = "kv") => {
      const full = joined(path, name);
      const id = located("kvCache", () => recorder.builder.state(full, { kvHeads, headDim }));
      const cache: KvCache = Object.freeze({ name: full, kvHeads, headDim });
      attachHandle(cache, { recorder, id });
      return cache;
    },
    scope: (name, body, own = name) => {
      const inner = joined(path, name);
      return inScope(recorder, inner, () => body(scopeOf(recorder, inner, joined(weights, own))));
    },
    op: (kind, inputs, attrs = {}, states = []) =>
      record(recorder, {
        kind, attrs,
        inputs: inputs.map((input) => handleOf(input, recorder, kind)),
        states: states.map((state) => handleOf(state, recorder, kind)),
      }).map((id) => tensorOf(recorder, id)),
  });
}

function inScope<R>(recorder: Recorder, path: string, body: () => R): R {
  const outer = recorder.scope;
  recorder.scope = path;
  try {
    return body();
  } finally {
    recorder.scope = outer;
  }
}

function modelOf(recorder: Recorder): Model {
  return Object.freeze<Model>({
    ...scopeOf(recorder, "", ""),
    ids: () => tensorOf(recorder, recorder.builder.input("ids")) as TokenIds,
    positions: () => tensorOf(recorder, recorder.builder.input("positions")) as Positions,
    layers: (count, x, body, { weights = "model.layers" } = {}) => {
      if (!Number.isInteger(count) || count < 0) fail("layers", `there cannot be ${count} layers`);
      let result = x;
      for (let index = 0; index < count; index++) {
        const path = `layers.${index}`;
        const layer: LayerScope = Object.freeze({
          ...scopeOf(recorder, path, `${weights}.${index}`), index,
        });
        result = inScope(recorder, path, () => body(layer, result));
      }
      return result;
    },
  });
}

/**
 * The Program of a model function, verified and frozen. The function describes one decoding step
 * and returns the named results. Throws `ShapeError` with the line of the model's source where an
 * op's operands do not fit, `ProgramError` where the whole breaks a rule.
 */
export function defineModel(
  options: ModelOptions,
  define: (model: Model) => { readonly [output: string]: Tensor },
): Program {
  const { name, limits, ops: table = semanticsTable } = options;
  const recorder: Recorder = {
    builder: createBuilder({ name, limits, table }), scope: "", rounded: new WeakMap(), open: true,
  };
  try {
    const outputs = Object.entries(define(modelOf(recorder)) ?? {});
    if (outputs.length === 0) fail("defineModel", `${name} returns no result; name at least one`);
    for (const [output, tensor] of outputs) {
      recorder.builder.output(output, handleOf(tensor, recorder, `output ${output}`).id);
    }
    return recorder.builder.build();
  } finally {
    recorder.open = false;
  }
}
