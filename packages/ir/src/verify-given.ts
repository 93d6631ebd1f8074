/** @file The rules for what a Program is given: weights and states. Pure. */
import { opText, sameShape, typeText } from "./describe.ts";
import { stepInputType } from "./infer.ts";
import type { SemanticsTable } from "./semantics.ts";
import { wholeShape } from "./ranks/slices.ts";
import type { Op, Program, ValueId } from "./types.ts";

/** Records a violation, and the op at fault if it is one. */
export type Report = (message: string, op?: number) => void;

/** Whether a number can be the extent of a dim. */
export const isSize = (x: number): boolean => Number.isSafeInteger(x) && x >= 1;

/** Weights: parts fill the shape, and one tensor has one shape wherever it is used. */
export function checkWeights(program: Program, _table: SemanticsTable, report: Report): void {
  const { values, weights } = program;
  const listed = new Set(weights.map((weight) => weight.value));
  const tensors = new Map<string, { shape: readonly number[]; weight: string }>();
  for (const { id, name, origin } of values) {
    if (origin.kind === "weight" && !listed.has(id)) report(`%${name} has no checkpoint tensors`);
  }
  checkEntries(program, "weight", report);
  for (const { value, parts } of weights) {
    const { name, type } = values[value] ?? { name: "?", type: stepInputType };
    const want = type.shape[0] ?? 1;
    const rows = parts.reduce((sum, part) => sum + part.rows, 0);
    if (!parts.every((part) => isSize(part.rows))) report(`%${name} has a part without rows`);
    if (rows !== want) {
      report(`%${name}: ${typeText(type)} needs parts of ${want} rows in all, got ${rows}`);
    }
    for (const part of parts) {
      const { slice } = part;
      const isSlice = slice === undefined ||
        (isSize(slice.of) && Number.isInteger(slice.index) && slice.index >= 0 &&
          slice.index < slice.of && slice.axis < type.shape.length);
      if (!isSlice) report(`%${name} takes a slice of ${part.tensor} that does not exist`);
      const known = tensors.get(part.tensor);
      const shape = wholeShape(type, part);
      if (known && !sameShape(known.shape, shape)) {
        report(`tensor ${part.tensor} has other shapes in %${known.weight} and in %${name}`);
      }
      tensors.set(part.tensor, { shape, weight: name });
    }
  }
}

/** Entries refer to values of their kind, each once, in ascending order. */
function checkEntries(program: Program, kind: "weight" | "state", report: Report): void {
  const entries = kind === "weight" ? program.weights : program.states;
  entries.forEach(({ value }, i) => {
    const { name, origin } = program.values[value] ?? {};
    if (origin?.kind !== kind) report(`%${name} is declared a ${kind}, but is a ${origin?.kind}`);
    const before = entries[i - 1]?.value ?? -1;
    if (before >= value) report(`${kind} %${name} is out of order; list each once, by value id`);
  });
}

/** States: used as states, by stateful ops, by one op each. */
export function checkStates(program: Program, table: SemanticsTable, report: Report): void {
  const { values, ops } = program;
  checkEntries(program, "state", report);
  const users = new Map<ValueId, Op>();
  ops.forEach((op, index) => {
    const stateful = table.get(op.kind)?.traits.stateful ?? false;
    if (stateful && op.states.length === 0) {
      report(`${opText(op)}: is stateful, but has no state; give it one`, index);
    }
    if (!stateful && op.states.length > 0) {
      report(`${opText(op)}: is not stateful, but has a state; leave it out`, index);
    }
    for (const id of op.inputs) {
      if (values[id]?.origin.kind !== "state") continue;
      report(`${opText(op)}: reads state %${values[id].name} as an input; list it as one`, index);
    }
    for (const id of op.states) {
      const { name, origin } = values[id] ?? {};
      if (origin?.kind !== "state") {
        report(`${opText(op)}: %${name} is used as a state, but is a ${origin?.kind}`, index);
      }
      const other = users.get(id);
      if (other) {
        const fix = "each appends its own rows; give each its own state";
        report(`${opText(op)}: state %${name} is used by ${opText(other)} too; ${fix}`, index);
      }
      users.set(id, op);
    }
  });
}
