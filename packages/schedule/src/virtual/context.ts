/** @file What a task sees on the virtual GPU: operands by placement, chunks of its SM's ring. */
import type { EvalContext, KvState, Precision, Sampling } from "@mpk/ir";
import type { TaskContext } from "../contracts.ts";
import type { Plan } from "../plan.ts";
import type { OpNode } from "../planner/nodes.ts";
import { rowsOf } from "../planner/shapes.ts";
import type { Arena, Block, Numbers } from "./arena.ts";
import { VirtualGpuError } from "./errors.ts";
import type { Resident } from "./packed.ts";
import type { Ring } from "./ring.ts";

/** What changes from step to step; written by the host or by the op that opens the next step. */
export interface StepDescriptor {
  readonly stop: boolean;
  readonly ids: Int32Array;
  readonly positions: Int32Array;
  readonly sampling: Sampling;
}

/** What an SM does next. */
export interface Turn {
  readonly task: number;
  readonly step: StepDescriptor;
  /** The copy of flagged values that has this step's words. */
  readonly copy: 0 | 1;
}

/** Memory shared by all SMs. */
export interface Memory {
  readonly plan: Plan;
  readonly nodes: readonly OpNode[];
  readonly precision: Precision;
  readonly arena: Arena;
  readonly states: ReadonlyMap<number, KvState>;
  readonly resident: readonly (readonly (Resident | undefined)[])[];
}

/** Where columns of a value are in a step: views followed, flagged values in their copy. */
function blockIn(plan: Plan, { step, copy }: Turn, value: number, lo: number, hi: number): Block {
  const place = plan.placements[value];
  const type = plan.program.values[value]?.type;
  if (place === undefined || type === undefined) {
    throw new VirtualGpuError(`value ${value} does not exist`);
  }
  const tokens = step.ids.length;
  const base = place.kind === "view" ? place.of : value;
  const isFlagged = tokens === 1 && plan.flags.value.includes(base);
  const rows = rowsOf(type, tokens);
  const block = { value: base, copy: isFlagged ? copy : null, row: 0, rows, lo, hi };
  if (place.kind !== "view") return block;
  const row = place.lastRow ? tokens - 1 : 0;
  return { ...block, row, lo: lo + place.column, hi: hi + place.column };
}

/** What the task polls: rows of flagged values, by what its tiling says that it reads. */
export function polledBlocks({ plan, nodes }: Memory, turn: Turn): readonly Block[] {
  if (turn.step.ids.length !== 1 || plan.flags.value.length === 0) return [];
  const { task } = turn;
  const op = plan.tasks.op[task] ?? -1;
  const regions = nodes[op]?.cls.regions(plan.tasks.tileLo[task] ?? 0, plan.tasks.tileHi[task] ?? 0);
  return (regions?.reads ?? [])
    .map(({ index, lo, hi }) =>
      blockIn(plan, turn, plan.program.ops[op]?.inputs[index] ?? -1, lo, hi))
    .filter(({ copy }) => copy !== null);
}

export function createTaskContext(
  memory: Memory,
  turn: Turn,
  ring: Ring,
  onHang: () => VirtualGpuError,
): TaskContext {
  const { plan, arena } = memory;
  const { task, step } = turn;
  const op = plan.tasks.op[task] ?? -1;
  const { inputs = [], outputs = [], states = [] } = plan.program.ops[op] ?? {};
  const resident = memory.resident[op] ?? [];
  const evalContext = evaluation(memory, step);
  const blockOf = (value: number, lo: number, hi: number): Block =>
    blockIn(plan, turn, value, lo, hi);
  const readStep = (block: Block): Numbers => {
    const origin = plan.program.values[block.value]?.origin;
    const data = origin?.kind === "input" ? evalContext.inputs[origin.input] : new Int32Array();
    return data.slice(block.row, block.row + block.rows);
  };

  return {
    tileLo: plan.tasks.tileLo[task] ?? 0,
    tileHi: plan.tasks.tileHi[task] ?? 0,
    eval: evalContext,
    states,
    read(input, lo, hi) {
      const weight = resident[input];
      if (weight !== undefined) return columnsOfResident(weight, lo, hi);
      const block = blockOf(inputs[input] ?? -1, lo, hi);
      return plan.placements[block.value]?.kind === "step" ? readStep(block) : arena.read(block);
    },
    readRow(input, row, lo, hi) {
      const weight = resident[input];
      if (weight === undefined) throw new VirtualGpuError(`input ${input} is no resident weight`);
      const rows = weight.data.length / weight.columns;
      if (!(row >= 0 && row < rows)) throw new VirtualGpuError(`row ${row} of a weight of ${rows}`);
      return weight.data.slice(row * weight.columns + lo, row * weight.columns + hi);
    },
    write(output, lo, hi, data) {
      arena.write(blockOf(outputs[output] ?? -1, lo, hi), data);
    },
    nextChunk() {
      const bytes = ring.take();
      if (bytes === null) throw onHang();
      return bytes;
    },
  };
}

function evaluation({ precision, states }: Memory, step: StepDescriptor): EvalContext {
  return {
    precision,
    tokens: step.ids.length,
    inputs: { ids: step.ids, positions: step.positions },
    sampling: step.sampling,
    state(id) {
      const state = states.get(id);
      if (state === undefined) throw new VirtualGpuError(`value ${id} is no state`);
      return state;
    },
  };
}

function columnsOfResident({ data, columns }: Resident, lo: number, hi: number): Float32Array {
  if (lo === 0 && hi === columns) return data;
  const rows = data.length / columns;
  const out = new Float32Array(rows * (hi - lo));
  for (let row = 0; row < rows; row++) {
    out.set(data.subarray(row * columns + lo, row * columns + hi), row * (hi - lo));
  }
  return out;
}
