/** @file Makes Programs: types are inferred op by op, the result is verified and frozen. */
import { freshName, sameType, typeText } from "./describe.ts";
import { inferTypes, stateType, stepInputType } from "./infer.ts";
import { deepFreeze, renumber } from "./renumber.ts";
import { ShapeError } from "./semantics.ts";
import type { SemanticsTable } from "./semantics.ts";
import type {
  Op, Program, State, StepInput, TensorType, Value, ValueId, ValueOrigin, Weight,
} from "./types.ts";
import { assertProgram } from "./verify.ts";

/** What is known of an op before its outputs are inferred. */
export interface OpSpec {
  readonly kind: string;
  readonly inputs: readonly ValueId[];
  readonly states?: readonly ValueId[];
  readonly attrs?: Op["attrs"];
  readonly scope?: string;
  readonly site?: Op["site"];
  /** Names of the outputs; where absent, made from the scope and the op's kind. */
  readonly names?: readonly string[];
}

/** What `defineProgram` must know: the name, the declared maxima, and the ops there are. */
export interface ProgramOptions {
  readonly name: string;
  readonly limits: Program["limits"];
  readonly table: SemanticsTable;
}

/** Collects values and ops. Value ids hold until `build`, which numbers values anew. */
export interface ProgramBuilder {
  /** Step data, i32 [T]. The same id however often it is asked for. */
  input(input: StepInput): ValueId;
  /**
   * A weight. `parts` are the checkpoint's tensors, stacked along axis 0; one tensor of the same
   * name where absent. Asking again for the same name, type and parts gives the same id; throws
   * `ShapeError` where they differ.
   */
  weight(name: string, type: TensorType, parts?: Weight["parts"]): ValueId;
  /** A KV cache. Its value's type is one position's row: bf16 [2, kvHeads, headDim], k then v. */
  state(name: string, size: Pick<State, "kvHeads" | "headDim">): ValueId;
  /** Adds an op and gives its outputs. Throws `ShapeError` naming op, scope and call site. */
  op(spec: OpSpec): readonly ValueId[];
  /** Names a result. */
  output(name: string, value: ValueId): void;
  typeOf(value: ValueId): TensorType;
  /** The verified, frozen Program. Throws `ProgramError` listing every violation. */
  build(): Program;
}

/** An empty builder. */
export function createBuilder(options: ProgramOptions): ProgramBuilder {
  const values: Value[] = [];
  const weights: Weight[] = [];
  const states: State[] = [];
  const ops: Op[] = [];
  const outputs: Record<string, ValueId> = {};
  const taken = new Map<string, ValueId>();
  const inputs = new Map<StepInput, ValueId>();

  function add(name: string, type: TensorType, origin: ValueOrigin): ValueId {
    if (taken.has(name)) throw new ShapeError(`value %${name} exists; give it another name`);
    taken.set(name, values.length);
    // A copy: whoever gave the sizes may change them, and whoever is told them must not.
    const own = Object.freeze({ ...type, shape: Object.freeze([...type.shape]) });
    values.push({ id: values.length, name, type: own, origin });
    return values.length - 1;
  }

  function typeOf(id: ValueId): TensorType {
    const value = values[id];
    if (!value) throw new ShapeError(`value ${id} is not of this builder; pass ids it returned`);
    return value.type;
  }

  function op(spec: OpSpec): readonly ValueId[] {
    const { kind, states: opStates = [], attrs = {}, scope = "", site = null } = spec;
    const node = { kind, inputs: [...spec.inputs], states: [...opStates], attrs, scope, site };
    const types = inferTypes(options.table, node, spec.inputs, typeOf);
    const results = types.map((type, i) => {
      const given = spec.names?.[i];
      const name = given ?? freshName(taken, scope === "" ? kind : `${scope}.${kind}`);
      return add(name, type, { kind: "op" });
    });
    ops.push({ ...node, outputs: results });
    return results;
  }

  return Object.freeze<ProgramBuilder>({
    input(input) {
      const value = inputs.get(input) ?? add(input, stepInputType, { kind: "input", input });
      inputs.set(input, value);
      return value;
    },
    weight(name, type, parts = [{ tensor: name, rows: Number(type.shape[0] ?? 1) }]) {
      const existing = taken.get(name);
      if (existing !== undefined) return reuseWeight(name, type, parts, existing, values, weights);
      const value = add(name, type, { kind: "weight" });
      weights.push({ value, parts });
      return value;
    },
    state(name, { kvHeads, headDim }) {
      const value = add(name, stateType({ kvHeads, headDim }), { kind: "state" });
      states.push({ value, kind: "kv", kvHeads, headDim });
      return value;
    },
    op,
    output(name, value) {
      typeOf(value);
      if (Object.hasOwn(outputs, name)) throw new ShapeError(`output ${name} is already named`);
      outputs[name] = value;
    },
    typeOf,
    build() {
      const { name, limits, table } = options;
      const program = renumber({ name, limits, values, weights, states, ops, outputs });
      const result = deepFreeze(structuredClone(program));
      assertProgram(result, table);
      return result;
    },
  });
}

/** A Program from a function that adds ops and returns the named results. */
export function defineProgram(
  options: ProgramOptions,
  define: (builder: ProgramBuilder) => Program["outputs"],
): Program {
  const builder = createBuilder(options);
  for (const [name, value] of Object.entries(define(builder))) builder.output(name, value);
  return builder.build();
}

function reuseWeight(
  name: string,
  type: TensorType,
  parts: Weight["parts"],
  value: ValueId,
  values: readonly Value[],
  weights: readonly Weight[],
): ValueId {
  const existing = values[value];
  const same = weights.find((weight) => weight.value === value);
  if (!existing || !same) throw new ShapeError(`%${name} exists and is not a weight; rename it`);
  if (!sameType(existing.type, type)) {
    throw new ShapeError(
      `weight ${name} is ${typeText(existing.type)} and cannot be ${typeText(type)} as well; ` +
        "share it with one type or give it another name",
    );
  }
  if (JSON.stringify(same.parts) !== JSON.stringify(parts)) {
    throw new ShapeError(`weight ${name} was declared with other parts; give it another name`);
  }
  return value;
}
