/** @file Which values of a Program are split over ranks by columns: found by their ops. Pure. */
import type { Json, Op, Program, TensorType, ValueId } from "../types.ts";
import type { SemanticsTable, Traits } from "../semantics.ts";

/** Ops that read split activations, and those that are split along K. */
export interface Layout {
  readonly isSplit: (value: ValueId) => boolean;
  /** The contraction's x is split: each rank has a part of the sum. */
  readonly isPartial: (op: Op) => boolean;
}

/**
 * Values start out split wherever their columns can be, and are taken back where an op would need
 * all columns of some and parts of others, until no op objects. What is split then begins at a
 * contraction and ends at the next.
 */
export function findLayout(program: Program, table: SemanticsTable, ranks: number): Layout {
  const { values, ops, outputs } = program;
  const split = new Set<ValueId>();
  for (const { id, type, origin } of values) {
    if (origin.kind === "op" && columnsOf(type) % ranks === 0) split.add(id);
  }
  for (const id of Object.values(outputs)) split.delete(id);
  for (let changed = true; changed;) {
    changed = false;
    for (const op of ops) {
      const before = split.size;
      settle(op, traitsOf(table, op), program, split, ranks);
      changed ||= split.size !== before;
    }
  }
  return {
    isSplit: (value) => split.has(value),
    isPartial: (op) =>
      isPlainContraction(op, traitsOf(table, op)) && split.has(op.inputs[0] ?? -1),
  };
}

/** Takes back what an op cannot do in parts. */
function settle(
  op: Op,
  traits: Traits,
  program: Program,
  split: Set<ValueId>,
  ranks: number,
): void {
  const activations = op.inputs.filter((id) => program.values[id]?.origin.kind === "op");
  const [output = -1] = op.outputs;
  if (isPlainContraction(op, traits)) {
    // x in parts: the outputs are sums, whole on every rank. x whole: outputs may be in parts.
    if (split.has(op.inputs[0] ?? -1)) split.delete(output);
    else if (!traits.contraction) split.delete(output);
    return;
  }
  const all = [...activations, output];
  if (all.every((id) => split.has(id)) && canSplit(op, traits, program, ranks)) return;
  for (const id of all) split.delete(id);
}

/** Whether an op gives columns of its result from the same part of its inputs alone. */
function canSplit(op: Op, traits: Traits, program: Program, ranks: number): boolean {
  const columns = columnsOf(program.values[op.outputs[0] ?? -1]?.type);
  const isWhole = (size: Json | undefined): boolean =>
    typeof size === "number" && (columns / ranks) % size === 0;
  if (traits.stateful) {
    const { heads, kvHeads } = op.attrs;
    return [heads, kvHeads].every((n) => typeof n === "number" && n % ranks === 0);
  }
  if (traits.rowNorm) return isWhole(op.attrs["width"]);
  if ("headDim" in op.attrs) return isWhole(op.attrs["headDim"]);
  return traits.pointwise || traits.cast;
}

/** A product alone, nothing folded in: the sum over K may be split and added up. */
export function isPlainContraction(op: Op, traits: Traits): boolean {
  const { groups, norm, epilogue } = op.attrs;
  const isProduct = typeof epilogue === "object" && epilogue !== null && !Array.isArray(epilogue) &&
    "op" in epilogue && epilogue["op"] === "arg";
  return traits.contraction && groups === 1 && norm === null && op.inputs.length === 2 && isProduct;
}

export function traitsOf(table: SemanticsTable, op: Op): Traits {
  const semantics = table.get(op.kind);
  if (semantics === undefined) throw new RangeError(`there is no op called ${op.kind}`);
  return semantics.traits;
}

/** Columns behind the first dim; a fixed vector has none to split but its own length. */
export function columnsOf(type: TensorType | undefined): number {
  if (type === undefined || type.shape.length < 2) return 1;
  return type.shape.slice(1).reduce<number>((product, dim) => product * Number(dim), 1);
}
