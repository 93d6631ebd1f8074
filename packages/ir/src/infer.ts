/** @file Types of values by rule: op outputs, step inputs and states. Pure. */
import { closest, opText } from "./describe.ts";
import { deepFreeze } from "./renumber.ts";
import { ShapeError } from "./semantics.ts";
import type { SemanticsTable } from "./semantics.ts";
import type { Op, State, TensorType, ValueId } from "./types.ts";

/** The type of a KV state's value: one position's keys, then its values. */
export function stateType(size: Pick<State, "kvHeads" | "headDim">): TensorType {
  return { dtype: "bf16", shape: [2, size.kvHeads, size.headDim] };
}

/** The type of a step input. */
export const stepInputType: TensorType = deepFreeze({ dtype: "i32", shape: ["T"] });

/**
 * Output types of an op by its shape rule. Throws `ShapeError` naming the op, its scope and call
 * site, and why.
 */
export function inferTypes(
  table: SemanticsTable,
  op: Pick<Op, "kind" | "attrs" | "scope" | "site">,
  inputs: readonly ValueId[],
  typeOf: (id: ValueId) => TensorType,
): readonly TensorType[] {
  const semantics = table.get(op.kind);
  if (!semantics) {
    const near = closest(op.kind, table.keys());
    throw new ShapeError(
      `${opText(op)}: there is no op called ${op.kind}` + (near ? `; did you mean ${near}?` : ""),
    );
  }
  try {
    return semantics.infer(semantics.parseAttrs(op.attrs), inputs.map(typeOf));
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    throw new ShapeError(`${opText(op)}: ${error.message}`, { cause: error });
  }
}
