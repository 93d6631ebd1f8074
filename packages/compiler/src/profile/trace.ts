/** @file A profile as a Chrome trace, which Perfetto and chrome://tracing show. Pure. */
import type { Profile } from "@mpk/runtime";
import type { Plan } from "@mpk/schedule";
import { opName, spansOf } from "./accounts.ts";

/** Trace event format (Chromium), complete events: times in microseconds. */
interface TraceEvent {
  readonly ph: "X" | "M";
  readonly pid: number;
  readonly tid: number;
  readonly name: string;
  readonly cat?: string;
  readonly ts?: number;
  readonly dur?: number;
  readonly args?: Readonly<Record<string, string | number>>;
}

const consumers = 1;
const producers = 2;
const micros = (nanos: number): number => nanos / 1000;

/** The trace as JSON text: a process of consumers and one of producers, a thread an SM. */
export function traceOf(plan: Plan, profile: Profile): string {
  const events: TraceEvent[] = [
    { ph: "M", pid: consumers, tid: 0, name: "process_name", args: { name: "consumers" } },
    { ph: "M", pid: producers, tid: 0, name: "process_name", args: { name: "producers" } },
  ];
  profile.ringFull.forEach((full, sm) => {
    for (const pid of [consumers, producers]) {
      events.push({ ph: "M", pid, tid: sm, name: "thread_name", args: { name: `SM ${sm}` } });
    }
    for (const { from, to } of full) {
      const times = { ts: micros(from), dur: micros(to - from) };
      events.push({ ph: "X", pid: producers, tid: sm, name: "ring full", ...times });
    }
  });
  const names = plan.program.ops.map((_, op) => opName(plan, op));
  profile.steps.forEach(({ step, sms }, index) => {
    const tasks = new Map(sms.map((one) => [one.sm, one.instructions]));
    for (const { sm, spans } of spansOf(plan, profile, index)) {
      for (const { from, to, part, op, instruction } of spans) {
        const task = instruction === null ? undefined : tasks.get(sm)?.[instruction];
        events.push({
          ph: "X", pid: consumers, tid: sm, cat: part,
          name: op === null ? part : `${names[op] ?? "?"}: ${part}`,
          ts: micros(from), dur: micros(to - from),
          args: {
            step,
            ...(task === undefined
              ? {}
              : { scope: task.scope, tiles: `${task.tileLo}..${task.tileHi}` }),
          },
        });
      }
    }
  });
  const lines = events.map((event) => JSON.stringify(event));
  return `{"displayTimeUnit":"ns","traceEvents":[\n${lines.join(",\n")}\n]}\n`;
}
