/** @file Turns a Plan's tasks into instructions: operand words, waits and signals. Pure. */
import { kernelProtocol, type IdLists, type Plan } from "@mpk/schedule";
import { type Instruction, maxInstructionWords, Word } from "./instructions.ts";
import { flagOffset, locate, scratchOffset, wordUnitBytes } from "./operands.ts";

/** In an event's word: neither awaited nor triggered in steps of one token. */
export const manyOnlyBit = 2 ** kernelProtocol.manyOnlyBit;

/** Byte offsets of resident weights and of states, by value id. */
export interface Arenas {
  readonly resident: ReadonlyMap<number, number>;
  readonly state: ReadonlyMap<number, number>;
}

/** Ids of owner `i`. */
export function idsOf(lists: IdLists, i: number): Int32Array {
  return lists.items.subarray(lists.start[i] ?? 0, lists.start[i + 1] ?? 0);
}

function inUnits(bytes: number, unit: number, what: string): number {
  const word = bytes / unit;
  if (!Number.isInteger(word) || word >= 2 ** 32) {
    throw new RangeError(`${what} lies at byte ${bytes}: not an address in units of ${unit} bytes`);
  }
  return word;
}

/**
 * One address word per input, output and state of an op, 0 where the body needs none; then one for
 * the copy of each flagged input and output.
 */
export function operandWords(plan: Plan, opIndex: number, arenas: Arenas): Uint32Array {
  const op = plan.program.ops[opIndex];
  if (op === undefined) throw new RangeError(`no op ${opIndex}`);
  const ids = [...op.inputs, ...op.outputs, ...op.states];
  const copies = [...op.inputs, ...op.outputs].flatMap((id) => {
    const bytes = flagOffset(plan, locate(plan, id));
    return bytes === null ? [] : [inUnits(bytes, wordUnitBytes.flag, `the copy of value ${id}`)];
  });
  const words = ids.map((id) => {
    const located = locate(plan, id);
    const name = located.base.name;
    switch (located.placement.kind) {
      case "scratch":
        return inUnits(scratchOffset(located), wordUnitBytes.scratch, name);
      case "weight":
        return inUnits(arenas.resident.get(located.base.id) ?? 0, wordUnitBytes.resident, name);
      case "state":
        return inUnits(arenas.state.get(located.base.id) ?? 0, wordUnitBytes.state, name);
      case "step":
        return 0;
      default:
        throw new RangeError("a view does not end at a placement");
    }
  });
  return Uint32Array.from([...words, ...copies]);
}

function eventWord({ events }: Plan, event: number): number {
  const cross = events.crossStep[event] === 1 ? 0x80000000 : 0;
  return (event | cross | (events.manyOnly[event] === 1 ? manyOnlyBit : 0)) >>> 0;
}

/** Whether an instruction waits for events in steps of one token; those of other steps come last. */
export const waitsAlone = (words: Uint32Array): boolean =>
  (words[Word.waits] ?? 0) > 0 && ((words[Word.firstWait] ?? 0) & manyOnlyBit) === 0;

/** Whether it signals any in such a step. */
export function signalsAlone(words: Uint32Array): boolean {
  const first = Word.firstWait + 2 * (words[Word.waits] ?? 0);
  return (words[Word.signals] ?? 0) > 0 && ((words[first] ?? 0) & manyOnlyBit) === 0;
}

/** The whole instruction list of one SM. `bodyOf[op]` is the body number of an op. */
export function encodeSm(
  plan: Plan,
  sm: number,
  bodyOf: Int32Array,
  operands: readonly Uint32Array[],
): Instruction[] {
  return Array.from(idsOf(plan.order, sm), (task) => {
    const op = plan.tasks.op[task] ?? 0;
    const waits = idsOf(plan.waits, task);
    const signals = idsOf(plan.signals, task);
    const words = operands[op] ?? new Uint32Array();
    const size = Word.firstWait + 2 * waits.length + signals.length + words.length;
    if (size > maxInstructionWords) {
      throw new RangeError(
        `task ${task} on SM ${sm} needs ${size} instruction words, at most ${maxInstructionWords}: ` +
          `it has ${waits.length} waits and ${words.length} operands; split the op`,
      );
    }
    const out = new Uint32Array(size);
    out[Word.size] = size;
    out[Word.body] = bodyOf[op] ?? 0;
    out[Word.op] = op;
    out[Word.tileLo] = plan.tasks.tileLo[task] ?? 0;
    out[Word.tileHi] = plan.tasks.tileHi[task] ?? 0;
    out[Word.waits] = waits.length;
    out[Word.signals] = signals.length;
    let at: number = Word.firstWait;
    for (const event of waits) {
      out[at++] = eventWord(plan, event);
      out[at++] = plan.events.threshold[event] ?? 0;
    }
    for (const event of signals) {
      out[at++] = event | (plan.events.manyOnly[event] === 1 ? manyOnlyBit : 0);
    }
    out.set(words, at);
    return out;
  });
}
