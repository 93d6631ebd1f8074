/** @file The rules that every Program keeps, and messages for those that do not. Pure. */
import { opText, sameType, typeText } from "./describe.ts";
import { inferTypes, stateType, stepInputType } from "./infer.ts";
import { ShapeError } from "./semantics.ts";
import type { SemanticsTable } from "./semantics.ts";
import { dtypeBytes } from "./types.ts";
import type { Json, Op, Program, TensorType, Value, ValueId } from "./types.ts";
import { checkStates, checkWeights, isSize } from "./verify-given.ts";
import type { Report } from "./verify-given.ts";

/** A rule that a Program breaks. */
export interface Violation {
  /** Name of the rule. */
  readonly rule: string;
  /** Who, where, expected, got, and the likely fix. */
  readonly message: string;
  /** Index in `program.ops`, where an op is at fault. */
  readonly op: number | null;
}

/** A Program that breaks rules; the message lists each violation on a line. */
export class ProgramError extends Error {
  override readonly name = "ProgramError";
  readonly violations: readonly Violation[];

  constructor(programName: string, violations: readonly Violation[]) {
    const lines = violations.map((violation) => `  ${violation.rule}: ${violation.message}`);
    super(`program ${programName} is not valid\n${lines.join("\n")}`);
    this.violations = violations;
  }
}

/** A rule with its name, as violations give it. */
export interface Rule {
  readonly name: string;
  /** Later rules rely on it: checking stops after it when it is broken. */
  readonly structural: boolean;
  check(program: Program, table: SemanticsTable, report: Report): void;
}

/** Every rule that `program` breaks, in the order of the rules; empty where it is valid. */
export function verifyProgram(program: Program, table: SemanticsTable): readonly Violation[] {
  const violations: Violation[] = [];
  for (const rule of programRules) {
    const before = violations.length;
    rule.check(program, table, (message, op) => {
      violations.push({ rule: rule.name, message, op: op ?? null });
    });
    if (rule.structural && violations.length > before) break;
  }
  return violations;
}

/** Throws `ProgramError` listing every violation. */
export function assertProgram(program: Program, table: SemanticsTable): void {
  const violations = verifyProgram(program, table);
  if (violations.length > 0) throw new ProgramError(program.name, violations);
}

function checkIds(program: Program, _table: SemanticsTable, report: Report): void {
  const { values, ops } = program;
  values.forEach(({ id, name }, index) => {
    if (id !== index) report(`value %${name} is number ${index}, but its id is ${id}; renumber`);
  });
  const exists = (id: ValueId): boolean => values[id] !== undefined;
  const last = `ids go from 0 to ${values.length - 1}`;
  ops.forEach((op, index) => {
    const lists = { input: op.inputs, output: op.outputs, state: op.states };
    for (const [role, ids] of Object.entries(lists)) {
      ids.forEach((id, i) => {
        if (!exists(id)) report(`${opText(op)}: ${role} ${i} is value ${id}; ${last}`, index);
      });
    }
  });
  for (const [name, id] of Object.entries(program.outputs)) {
    if (!exists(id)) report(`output ${name} is value ${id}; ${last}`);
  }
  for (const { value } of [...program.weights, ...program.states]) {
    if (!exists(value)) report(`a weight or state is declared for value ${value}; ${last}`);
  }
}

function checkOrder(program: Program, _table: SemanticsTable, report: Report): void {
  const { values, ops } = program;
  const ready = values.map((value) => value.origin.kind !== "op");
  const definedBy = new Map<ValueId, Op>();
  const name = (id: ValueId): string => `%${values[id]?.name}`;
  ops.forEach((op, index) => {
    for (const id of op.inputs) {
      if (ready[id]) continue;
      const later = ops.find((other) => other.outputs.includes(id));
      const where = later ? `which ${opText(later)} defines later` : "which no op defines";
      report(`${opText(op)}: reads ${name(id)}, ${where}; put the definition first`, index);
    }
    for (const id of op.outputs) {
      const first = definedBy.get(id);
      if (first) report(`${opText(op)}: ${name(id)} is defined by ${opText(first)} too`, index);
      const { kind } = values[id]?.origin ?? { kind: "op" };
      if (kind !== "op") report(`${opText(op)}: ${name(id)} is a ${kind}, not a result`, index);
      definedBy.set(id, op);
      ready[id] = true;
    }
  });
  for (const { id, origin } of values) {
    if (origin.kind === "op" && !definedBy.has(id)) report(`${name(id)} is defined by no op`);
  }
}

function checkLimits(program: Program, _table: SemanticsTable, report: Report): void {
  const { maxTokens, maxContext } = program.limits;
  for (const [name, limit] of Object.entries({ maxTokens, maxContext })) {
    if (!isSize(limit)) report(`${name}: expected an integer of 1 or more, got ${limit}`);
  }
  if (maxTokens > maxContext) {
    report(`maxTokens ${maxTokens} exceeds maxContext ${maxContext}; a step must fit its context`);
  }
}

function checkNames(program: Program, _table: SemanticsTable, report: Report): void {
  const seen = new Map<string, ValueId>();
  for (const { id, name } of program.values) {
    const first = seen.get(name);
    if (name === "") report(`value ${id} has no name`);
    if (first !== undefined) report(`values ${first} and ${id} are both called %${name}`);
    seen.set(name, id);
  }
}

function checkTypes(program: Program, _table: SemanticsTable, report: Report): void {
  for (const value of program.values) {
    const { dtype, shape } = value.type;
    const where = `%${value.name}: ${typeText(value.type)}`;
    if (!Object.hasOwn(dtypeBytes, dtype)) report(`${where} has no such number format`);
    shape.forEach((dim, axis) => {
      if (dim === "T" && axis > 0) report(`${where} has T at dim ${axis}; T is the first dim only`);
      if (dim !== "T" && !isSize(dim)) report(`${where}: dim ${axis} must be an integer above 0`);
    });
    const problem = originProblem(value, program);
    if (problem) report(`${where} ${problem}`);
  }
}

function originProblem(value: Value, program: Program): string | null {
  const { type, origin, id } = value;
  const expectType = (expected: TensorType): string | null =>
    sameType(type, expected) ? null : `must be ${typeText(expected)}`;
  switch (origin.kind) {
    case "op":
      return null;
    case "input":
      return expectType(stepInputType);
    case "weight":
      if (type.dtype === "i32") return "is a weight; weights are f32 or bf16";
      return type.shape.includes("T") ? "is a weight; its dims cannot depend on the step" : null;
    case "state": {
      const state = program.states.find((other) => other.value === id);
      return state ? expectType(stateType(state)) : "has no entry in the program's states";
    }
  }
}

function checkOps(program: Program, table: SemanticsTable, report: Report): void {
  const { values } = program;
  const typeOf = (id: ValueId): TensorType => {
    const value = values[id];
    if (!value) throw new ShapeError(`value ${id} does not exist`);
    return value.type;
  };
  program.ops.forEach((op, index) => {
    const attr = Object.entries(op.attrs).find(([, json]) => !isPlainJson(json));
    if (attr) report(`${opText(op)}: attribute ${attr[0]} is not plain JSON`, index);
    try {
      const expected = inferTypes(table, op, op.inputs, typeOf);
      if (expected.length !== op.outputs.length) {
        const got = op.outputs.length;
        report(`${opText(op)}: has ${expected.length} outputs by its rule, got ${got}`, index);
        return;
      }
      op.outputs.forEach((id, i) => {
        const want = expected[i];
        if (!want || sameType(want, typeOf(id))) return;
        const got = `%${values[id]?.name} is declared ${typeText(typeOf(id))}`;
        report(`${opText(op)}: expected output ${i} to be ${typeText(want)}, but ${got}`, index);
      });
    } catch (error) {
      if (!(error instanceof ShapeError)) throw error;
      report(error.message, index);
    }
  });
}

function isPlainJson(json: Json): boolean {
  if (typeof json === "number") return Number.isFinite(json);
  if (typeof json !== "object" || json === null) return json !== undefined;
  return Object.values(json).every(isPlainJson);
}

function checkOutputs(program: Program, _table: SemanticsTable, report: Report): void {
  const outputs = Object.entries(program.outputs);
  if (outputs.length === 0) report("nothing is computed for anyone; name at least one output");
  for (const [name, id] of outputs) {
    const kind = program.values[id]?.origin.kind;
    if (kind !== "op") report(`output ${name} is a ${kind}; name a result of an op`);
  }
}

function checkEffects(program: Program, table: SemanticsTable, report: Report): void {
  let effect: Op | null = null;
  program.ops.forEach((op, index) => {
    const traits = table.get(op.kind)?.traits;
    if (!traits) return;
    if (effect && traits.effect) {
      report(`${opText(op)}: the step already ends with ${opText(effect)}; keep one`, index);
    } else if (effect && traits.stateful) {
      const why = `uses state after ${opText(effect)} opened the next step; put it before`;
      report(`${opText(op)}: ${why}`, index);
    }
    if (traits.effect) effect = op;
  });
}

/** The rules, in the order in which they are checked. */
export const programRules: readonly Rule[] = [
  { name: "ids", structural: true, check: checkIds },
  { name: "limits", structural: false, check: checkLimits },
  { name: "names", structural: false, check: checkNames },
  { name: "order", structural: true, check: checkOrder },
  { name: "types", structural: true, check: checkTypes },
  { name: "weights", structural: false, check: checkWeights },
  { name: "states", structural: false, check: checkStates },
  { name: "ops", structural: false, check: checkOps },
  { name: "outputs", structural: false, check: checkOutputs },
  { name: "effects", structural: false, check: checkEffects },
];
