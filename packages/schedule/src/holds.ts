/** @file How rows of a state come to a task, and whether weights give way to them. Pure. */
import type { Op } from "@mpk/ir";
import { segmentBytes, type Plan } from "./plan.ts";

/** Rings' worth of weights between two such tasks of an SM up to which there is time to spare. */
const mostRings = 2;

/** Into how many parts an op cuts its state's rows, copied into rings as weights are; 0: no such op. */
export function splitsOf({ attrs, states }: Op): number {
  const splits = attrs["splits"];
  return states.length > 0 && typeof splits === "number" && splits > 1 ? splits : 0;
}

/** Whether the consumers of an op's tasks load the rows of its state. */
const loadsState = (op: Op): boolean => op.states.length > 0 && splitsOf(op) === 0;

/**
 * In one-token steps, an SM whose ring fills itself behind attention's back takes in weights that nobody
 * waits for yet beside keys and values that everybody waits for. True: the producer waits meanwhile. Only
 * where SMs stream little for each attention task, so that they wait for hand-offs and not for memory:
 * measured on an H200, Qwen3-0.6B (1.6 rings) gains 2 %, Qwen3-1.7B (4.7 rings) loses 10 %. Only
 * times depend on it.
 */
export function holdsStream({ program, tasks, machine, ring, flags, streams }: Plan): boolean {
  const loads = program.ops.map(loadsState);
  const loading = new Float64Array(machine.sms);
  for (let task = 0; task < tasks.count; task++) {
    const [sm, op] = [tasks.sm[task] ?? 0, tasks.op[task] ?? 0];
    if (loads[op] === true) loading[sm] = (loading[sm] ?? 0) + 1;
  }
  const most = mostRings * ring.stages * ring.stageBytes;
  return flags.value.length > 0 && loading.some((count) => count > 0) &&
    loading.every((count, sm) => count === 0 || segmentBytes(streams[sm] ?? []) <= most * count);
}
