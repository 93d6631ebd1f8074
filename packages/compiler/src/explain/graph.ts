/**
 * @file The same ops as a CUDA graph of separate kernels, one a task-bearing op: a model, not a
 * measurement. Pure.
 */
import { dtypeBytes } from "@mpk/ir";
import { scheduleTable } from "@mpk/ops";
import type { Plan, SimulationConstants } from "@mpk/schedule";

/** From the end of an empty kernel to that of the next in a CUDA graph, measured on an H200. */
export const graphGapNanos = 550;

export interface GraphModel {
  readonly kernels: number;
  readonly nanos: number;
  /** By reason, nanoseconds of the whole step. */
  readonly parts: Readonly<Record<GraphPart, number>>;
}

export const graphParts = {
  read: "bytes at the rate that streams reach",
  gap: "from one kernel to the next",
  start: "until the first weights are there: none can be on their way before the kernel begins",
  prepare: "inputs and norms before the first products, with nothing left to read meanwhile",
  finish: "the last products, sums and stores, with nothing to read meanwhile",
} as const;
export type GraphPart = keyof typeof graphParts;

/**
 * Kernels as good as ours at all else: weights stream at the same rate from the first arrival on,
 * inputs are prepared while the first weights come. What they cannot do is read the next kernel's weights
 * before it begins, which is what the one kernel does with its rings.
 */
export function graphOf(plan: Plan, constants: SimulationConstants, context: number): GraphModel {
  const { streamShare, copyLatencyNanos, prologueNanos, epilogueNanos, chunkNanos } = constants;
  const { activationBytesPerNano, stateBytesPerNano, stateNanos } = constants;
  const bytesPerNano = (plan.machine.readBytesPerSecond * streamShare) / 1e9;
  const bytes = new Map<number, number>();
  for (const { task, chunks, chunkBytes } of plan.streams.flat()) {
    const op = plan.tasks.op[task] ?? -1;
    bytes.set(op, (bytes.get(op) ?? 0) + chunks * chunkBytes);
  }
  const parts = { read: 0, gap: 0, start: 0, prepare: 0, finish: 0 };
  const working = [...new Set(plan.tasks.op)];
  for (const op of working) {
    const { kind = "", inputs = [], states = [], attrs } = plan.program.ops[op] ?? {};
    // A greedy choice of the token looks at block maxima, not at every logit.
    const isChoice = scheduleTable.get(kind)?.semantics.traits.effect === true;
    const streamed = bytes.get(op) ?? 0;
    const activations = isChoice ? 0 : inputs.reduce((sum, value) => {
      const found = plan.program.values[value];
      if (found === undefined || found.origin.kind !== "op") return sum;
      const columns = found.type.shape.slice(1).reduce<number>((all, dim) => all * Number(dim), 1);
      return sum + columns * dtypeBytes[found.type.dtype];
    }, 0);
    // Attention in parts: an SM reads one part of a head's rows.
    const splits = attrs?.["splits"];
    const positions = Math.ceil(context / (typeof splits === "number" ? splits : 1));
    const head = states.reduce((sum, id) => {
      const state = plan.program.states.find((one) => one.value === id);
      return sum + stateNanos + (positions * 2 * 2 * (state?.headDim ?? 0)) / stateBytesPerNano;
    }, 0);
    const prepare = prologueNanos + activations / activationBytesPerNano + head;
    const start = streamed > 0 ? copyLatencyNanos : 0;
    parts.gap += graphGapNanos;
    parts.start += start;
    // The first weights are on their way while inputs are prepared.
    parts.prepare += Math.max(0, prepare - start);
    parts.read += streamed / bytesPerNano;
    parts.finish += epilogueNanos + (streamed > 0 ? chunkNanos : 0);
  }
  const nanos = Object.values(parts).reduce((sum, part) => sum + part, 0);
  return { kernels: working.length, nanos, parts };
}
