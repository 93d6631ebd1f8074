/** @file Where each operand of an op lies: arena, stride, address word. Pure. */
import { dtypeBytes, type Program, type TensorType, type Value } from "@mpk/ir";
import type { Placement, Plan } from "@mpk/schedule";
import type { BodyOperand } from "./body.ts";

/** An address word counts in these units of its arena. */
export const wordUnitBytes = { scratch: 2, resident: 16, state: 256, flag: 16 } as const;

/** Columns of a row: the dims behind the first, or the only dim of a rank-1 value without T. */
export function columnsOf(type: TensorType): number {
  const dims = type.shape.length === 1 && type.shape[0] !== "T" ? type.shape : type.shape.slice(1);
  return dims.reduce<number>((product, dim) => product * (dim === "T" ? 1 : dim), 1);
}

function rowsOf(type: TensorType): "T" | number {
  return type.shape.length === 1 && type.shape[0] !== "T" ? 1 : (type.shape[0] ?? 1);
}

interface Located {
  readonly base: Value;
  readonly placement: Exclude<Placement, { kind: "view" }>;
  readonly column: number;
  readonly lastRow: boolean;
}

function valueAt(program: Program, id: number): Value {
  const value = program.values[id];
  if (value === undefined) throw new RangeError(`no value ${id} in program ${program.name}`);
  return value;
}

/** Follows views down to the value that has the bytes. */
export function locate(plan: Plan, id: number): Located {
  let column = 0;
  let lastRow = false;
  for (let at = id; ; ) {
    const placement = plan.placements[at];
    if (placement === undefined) throw new RangeError(`value ${at} has no placement`);
    if (placement.kind !== "view") {
      return { base: valueAt(plan.program, at), placement, column, lastRow };
    }
    column += placement.column;
    lastRow ||= placement.lastRow;
    at = placement.of;
  }
}

/** Byte offset of a located operand's first element in the scratch arena. */
export function scratchOffset(located: Located): number {
  if (located.placement.kind !== "scratch") throw new RangeError("not in scratch");
  return located.placement.offsetBytes + located.column * dtypeBytes[located.base.type.dtype];
}

/** Byte offset of a located operand in the first copy of its flagged value; null if it has none. */
export function flagOffset({ flags }: Plan, { base, column }: Located): number | null {
  const at = flags.value.indexOf(base.id);
  if (at < 0) return null;
  return flags.startBytes + (flags.offsetBytes[at] ?? 0) + column * dtypeBytes[base.type.dtype];
}

/** What a body sees of one operand. `flag`: the index of its copy's word, if it has one. */
export function bodyOperand(
  plan: Plan,
  id: number,
  word: number,
  streamed: boolean,
  flag: number | null = null,
): BodyOperand {
  const value = valueAt(plan.program, id);
  const located = locate(plan, id);
  const arenas = {
    scratch: "scratch",
    weight: streamed ? "stream" : "resident",
    step: "step",
    state: "resident",
  } as const;
  return {
    arena: arenas[located.placement.kind],
    dtype: value.type.dtype,
    step: located.base.origin.kind === "input" ? located.base.origin.input : null,
    columns: columnsOf(value.type),
    stride: columnsOf(located.base.type),
    column: located.column,
    rows: rowsOf(value.type),
    lastRow: located.lastRow,
    word,
    flag,
  };
}

const cTypes = { f32: "float", bf16: "u16", i32: "i32" } as const;

export function operandType(operand: BodyOperand): string {
  return cTypes[operand.dtype];
}

/** See `BodyEnv.element`. */
export function operandElement(operand: BodyOperand, row: string, column: string): string {
  // Floats, as everything an expression works on: u32 arithmetic would wrap around.
  if (operand.step === "positions") return `static_cast<float>(c.position + ${row})`;
  if (operand.step === "ids") return `static_cast<float>(c.shared->step.ids[${row}])`;
  const type = operandType(operand);
  const at = operand.columns === 1 ? "0" : column;
  const one = operand.rows === 1;
  const line = operand.lastRow ? "(c.tokens - 1)" : row;
  const offset =
    one && !operand.lastRow ? at : `static_cast<u64>(${line}) * ${operand.stride} + ${at}`;
  switch (operand.arena) {
    case "scratch":
      if (operand.few === "terms") {
        const behind = `c.tokens * ${operand.stride}`;
        return `load_terms(in_scratch<u16>(c, ops[${operand.word}]) + ${offset}, ${behind})`;
      }
      return `load_one(in_scratch<${type}>(c, ops[${operand.word}]) + ${offset})`;
    case "resident":
      return `load_resident(in_resident<${type}>(c, ops[${operand.word}]) + ${offset})`;
    default:
      throw new RangeError(`an operand in the ${operand.arena} arena has no element to read`);
  }
}

/** See `BodyEnv.elementOfOne`. */
export function operandElementOfOne(operand: BodyOperand, column: string): string {
  if (operand.flag === null) return operandElement(operand, "0", column);
  const type = operandType(operand);
  return `poll_one<${type}>(c, ops[${operand.flag}], ${column}, ${operand.word})`;
}
