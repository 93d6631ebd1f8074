/** @file A simulated step in the form of a profile, so that the same pictures show both. Pure. */
import type { InstructionTimes, Profile, SmStep } from "@mpk/runtime";
import type { Plan, Simulation } from "@mpk/schedule";

/** The number of a scope such as `layers.3.mlp`. */
const layerOf = (scope: string): number | null => {
  const found = /(?:^|\.)(\d+)(?:\.|$)/.exec(scope)?.[1];
  return found === undefined ? null : Number(found);
};

/** One step, which every SM sees begin at 0. Rings are full only where the simulation recorded them. */
export function profileOf(plan: Plan, { times, recording }: Simulation): Profile {
  const { order, tasks, program } = plan;
  const bytes = new Map<number, number>();
  for (const { task, chunks, chunkBytes } of plan.streams.flat()) {
    bytes.set(task, (bytes.get(task) ?? 0) + chunks * chunkBytes);
  }
  const instructionOf = (sm: number, slot: number): InstructionTimes => {
    const task = order.items[slot] ?? 0;
    const op = tasks.op[task] ?? 0;
    const { kind = "?", scope = "" } = program.ops[op] ?? {};
    const streamedBytes = bytes.get(task) ?? 0;
    const at = (list: Float64Array): number => list[slot] ?? 0;
    const streamed = (list: Float64Array): number | null => streamedBytes > 0 ? at(list) : null;
    return {
      sm, instruction: slot - (order.start[sm] ?? 0), op, kind, scope, layer: layerOf(scope),
      tileLo: tasks.tileLo[task] ?? 0, tileHi: tasks.tileHi[task] ?? 0, streamedBytes,
      // An SM that is ahead has come to its first task before the step begins.
      start: Math.max(0, at(times.free)),
      ready: Math.max(0, at(times.ready)),
      placed: null,
      asked: streamed(times.begin),
      data: streamed(times.data),
      consumed: streamed(times.consumed),
      stored: null,
      end: at(times.end),
      stalledNanos: at(times.stalled),
    };
  };
  const sms = Array.from({ length: plan.machine.sms }, (_, sm): SmStep => {
    const [from, to] = [order.start[sm] ?? 0, order.start[sm + 1] ?? 0];
    const instructions = Array.from({ length: to - from }, (_, i) => instructionOf(sm, from + i));
    return { sm, arrived: 0, opened: 0, instructions };
  });
  return {
    steps: [{ step: 0, sms: sms.filter(({ instructions }) => instructions.length > 0) }],
    ringFull: recording?.ringFull ?? sms.map(() => []),
    ringFullCut: false,
  };
}
