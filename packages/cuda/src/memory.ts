/** @file Device memory: the packed image, resident weights, KV pools, and how to fill them. Pure. */
import { dtypeBytes, type Program, type Weight } from "@mpk/ir";
import { segmentBytes, type Plan } from "@mpk/schedule";
import type { PackEntry, ResidentEntry, TensorPart } from "./manifest.ts";
import { columnsOf, locate } from "./operands.ts";

export interface MemoryLayout {
  /** Start of each SM's stream in the packed image, bytes. */
  readonly streamBase: readonly number[];
  readonly streamBytes: number;
  /** Byte offsets by value id. */
  readonly resident: ReadonlyMap<number, number>;
  readonly residentBytes: number;
  readonly residentEntries: readonly ResidentEntry[];
  readonly state: ReadonlyMap<number, number>;
  readonly kvBytes: number;
  readonly pack: readonly PackEntry[];
}

const align = (bytes: number, to: number): number => Math.ceil(bytes / to) * to;

function weightOf(program: Program, value: number): Weight {
  const weight = program.weights.find((w) => w.value === value);
  if (weight === undefined) throw new RangeError(`value ${value} is no weight`);
  return weight;
}

function partsOf(program: Program, value: number): TensorPart[] {
  const type = program.values[value]?.type;
  const columns = type !== undefined && type.shape.length > 1 ? columnsOf(type) : 1;
  return weightOf(program, value).parts.map(({ tensor, rows }) => ({ tensor, rows, columns }));
}

/** Values read as resident weights by any op: weights that the op does not stream. */
function residentValues(plan: Plan): number[] {
  const values = new Set<number>();
  plan.program.ops.forEach((op, index) => {
    const streamed = plan.layouts[index]?.weights ?? [];
    op.inputs.forEach((id, i) => {
      const { placement, base } = locate(plan, id);
      if (placement.kind === "weight" && !streamed.includes(i)) values.add(base.id);
    });
  });
  return [...values].sort((a, b) => a - b);
}

function packEntries(plan: Plan, streamBase: readonly number[]): PackEntry[] {
  const tasks = new Map<number, number[]>();
  plan.streams.forEach((segments, sm) => {
    for (const segment of segments) {
      const op = plan.tasks.op[segment.task] ?? 0;
      const list = tasks.get(op) ?? [];
      const at = ((streamBase[sm] ?? 0) + segment.offsetBytes) / 128;
      list.push(at, plan.tasks.tileLo[segment.task] ?? 0, plan.tasks.tileHi[segment.task] ?? 0, 0);
      tasks.set(op, list);
    }
  });
  return [...tasks].sort(([a], [b]) => a - b).map(([op, list]) => {
    const layout = plan.layouts[op];
    const inputs = plan.program.ops[op]?.inputs;
    if (!layout || !inputs) throw new RangeError(`op ${op} streams without a layout`);
    return {
      op,
      groups: layout.weights.map((i) => ({ parts: partsOf(plan.program, inputs[i] ?? -1) })),
      n: layout.n,
      k: layout.k,
      blocksPerChunk: layout.blocksPerChunk,
      chunksPerTile: layout.chunksPerTile,
      chunksPerSlice: layout.chunksPerSlice,
      tilesPerGroup: layout.tilesPerGroup,
      folds: layout.folds,
      tasks: list,
    };
  });
}

/** Offsets of everything; 1024-byte aligned streams, 256-byte aligned weights and pools. */
export function layoutMemory(plan: Plan): MemoryLayout {
  const { program } = plan;
  let streamBytes = 0;
  const streamBase = plan.streams.map((segments) => {
    const base = streamBytes;
    streamBytes += segmentBytes(segments);
    streamBytes = align(streamBytes, 1024);
    return base;
  });
  let residentBytes = 0;
  const resident = new Map<number, number>();
  const residentEntries = residentValues(plan).map((id): ResidentEntry => {
    const value = program.values[id];
    if (value === undefined) throw new RangeError(`no value ${id}`);
    const elements = value.type.shape.reduce<number>((n, d) => n * (d === "T" ? 1 : d), 1);
    const bytes = elements * dtypeBytes[value.type.dtype];
    const offsetBytes = residentBytes;
    resident.set(id, offsetBytes);
    residentBytes = align(residentBytes + bytes, 256);
    return { value: value.name, offsetBytes, bytes, parts: partsOf(program, id) };
  });
  let kvBytes = 0;
  const state = new Map<number, number>();
  for (const { value, kvHeads, headDim } of program.states) {
    state.set(value, kvBytes);
    kvBytes = align(kvBytes + plan.pages * 2 * kvHeads * plan.pageTokens * headDim * 2, 256);
  }
  const pack = packEntries(plan, streamBase);
  return {
    streamBase, streamBytes, resident, residentBytes, residentEntries, state, kvBytes, pack,
  };
}
