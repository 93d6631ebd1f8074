/** @file Numbers a program's values in the usual order: what is given first, then by op. Pure. */
import type { Op, Program, Value, ValueId } from "./types.ts";

/**
 * The same program with values numbered as they appear: inputs, weights and states in their
 * present order, then op outputs in op order. Values that no remaining op defines are left out.
 * Ids that nothing defines become -1, for the verifier to report.
 */
export function renumber(program: Program): Program {
  const byId = new Map(program.values.map((value) => [value.id, value]));
  const kept = program.values.filter((value) => value.origin.kind !== "op");
  for (const op of program.ops) {
    for (const id of op.outputs) {
      const value = byId.get(id);
      if (value) kept.push(value);
    }
  }
  const newIds = new Map(kept.map((value, index) => [value.id, index]));
  const rename = (id: ValueId): ValueId => newIds.get(id) ?? -1;
  return {
    name: program.name,
    limits: program.limits,
    values: kept.map((value, id): Value => (value.id === id ? value : { ...value, id })),
    weights: inOrder(program.weights, rename),
    states: inOrder(program.states, rename),
    ops: program.ops.map((op) => renameOp(op, rename)),
    outputs: Object.fromEntries(
      Object.entries(program.outputs).map(([name, id]) => [name, rename(id)]),
    ),
  };
}

function renameOp(op: Op, rename: (id: ValueId) => ValueId): Op {
  const lists = [op.inputs, op.outputs, op.states];
  if (lists.every((ids) => ids.every((id) => rename(id) === id))) return op;
  return {
    ...op,
    inputs: op.inputs.map(rename),
    outputs: op.outputs.map(rename),
    states: op.states.map(rename),
  };
}

function inOrder<E extends { readonly value: ValueId }>(
  entries: readonly E[],
  rename: (id: ValueId) => ValueId,
): readonly E[] {
  return entries
    .map((entry) => ({ ...entry, value: rename(entry.value) }))
    .sort((a, b) => a.value - b.value);
}

/** Freezes plain data all the way down, and returns it. */
export function deepFreeze<T>(data: T): T {
  if (typeof data !== "object" || data === null || Object.isFrozen(data)) return data;
  Object.freeze(data);
  for (const part of Object.values(data)) deepFreeze(part);
  return data;
}
