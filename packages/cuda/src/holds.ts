/** @file Whether weights give way to the keys and values of attention. Pure. */
import { segmentBytes, type Plan } from "@mpk/schedule";
import type { Bodies } from "./bodies.ts";

/** Rings' worth of weights between two attention tasks of an SM up to which there is time to spare. */
const mostRings = 2;

/**
 * In one-token steps, an SM whose ring fills itself behind attention's back takes in weights that nobody
 * waits for yet beside keys and values that everybody waits for. True: the producer waits meanwhile. Only
 * where SMs stream little for each attention task, so that they wait for hand-offs and not for memory:
 * measured on an H200, Qwen3-0.6B (1.6 rings) gains 2 %, Qwen3-1.7B (4.7 rings) loses 10 %. Only
 * times depend on it.
 */
export function holdsStream(plan: Plan, { bodies, bodyOf }: Bodies): boolean {
  const { tasks, machine, ring, flags } = plan;
  const attends = new Float64Array(machine.sms);
  for (let task = 0; task < tasks.count; task++) {
    const [sm, op] = [tasks.sm[task] ?? 0, tasks.op[task] ?? 0];
    if (bodies[bodyOf[op] ?? -1]?.run === "attention") attends[sm] = (attends[sm] ?? 0) + 1;
  }
  const most = mostRings * ring.stages * ring.stageBytes;
  return flags.value.length > 0 && attends.some((count) => count > 0) &&
    attends.every((count, sm) => count === 0 || segmentBytes(plan.streams[sm] ?? []) <= most * count);
}
