/** @file Profiles of runs that never were: times with known costs, or any times at all. */
import { scheduleTable, semanticsTable } from "@mpk/ops";
import { runPasses } from "@mpk/ir";
import { modelFromConfig } from "@mpk/models";
import type { InstructionTimes, Interval, Profile, SmStep } from "@mpk/runtime";
import { plan, virtual, type Plan } from "@mpk/schedule";
import { tinyConfig } from "../checkpoint.ts";

export const tinyPlan = (sms: number): Plan =>
  plan(runPasses(modelFromConfig(tinyConfig), semanticsTable), scheduleTable, virtual(sms));

export interface Costs {
  readonly gate: number;
  readonly dispatch: number;
  readonly handOff: number;
  readonly norm: number;
  readonly prepare: number;
  readonly ringEmpty: number;
  readonly stalled: number;
  readonly stream: number;
  readonly finish: number;
  readonly signal: number;
  readonly attention: number;
  readonly compute: number;
}

function tasksOf(made: Plan, sm: number): readonly number[] {
  return [...made.order.items.subarray(made.order.start[sm], made.order.start[sm + 1])];
}

const rangeOf = (lists: Plan["waits"], i: number): readonly number[] =>
  [...lists.items.subarray(lists.start[i], lists.start[i + 1])];

/** Runs a plan with fixed costs, task after task in an order that never waits for a later one. */
export function simulate(made: Plan, steps: number, costs: Costs): Profile {
  const smClock = new Float64Array(made.machine.sms).fill(0);
  let opened = 100;
  const list: { step: number; sms: SmStep[] }[] = [];
  for (let step = 0; step < steps; step++) {
    const done = new Map<number, { left: number; at: number }>();
    const states = Array.from({ length: made.machine.sms }, (_, sm) => ({
      sm, at: opened + (sm === 0 ? 0 : costs.gate), next: 0, tasks: tasksOf(made, sm),
      instructions: [] as InstructionTimes[], arrived: smClock[sm] ?? 0,
    }));
    for (let moved = true; moved; ) {
      moved = false;
      for (const state of states) {
        const task = state.tasks[state.next];
        if (task === undefined) continue;
        const events = rangeOf(made.waits, task).filter((e) => made.events.crossStep[e] === 0);
        const ready = events.map((e) => done.get(e)).every((d) => d?.left === 0);
        if (!ready) continue;
        const last = Math.max(-Infinity, ...events.map((e) => done.get(e)?.at ?? 0));
        const times = timesOf(made, state.sm, state.next, task, state.at, last, costs);
        state.instructions.push(times);
        state.at = times.end;
        state.next++;
        for (const event of rangeOf(made.signals, task)) {
          const was = done.get(event) ?? { left: made.events.threshold[event] ?? 0, at: 0 };
          done.set(event, { left: was.left - 1, at: Math.max(was.at, times.end) });
        }
        moved = true;
      }
    }
    const sms = states.map(({ sm, instructions, arrived }): SmStep => ({
      sm, instructions, arrived, opened: opened + costs.gate,
    }));
    // The first SM sees the gate at once.
    sms[0] = { ...sms[0]!, opened };
    list.push({ step, sms });
    states.forEach(({ sm, at }) => void (smClock[sm] = at));
    opened = Math.max(...states.map(({ at }) => at)) + 50;
  }
  return { steps: list, ringFull: noFulls(made), ringFullCut: false };
}

const noFulls = (made: Plan): Interval[][] =>
  Array.from({ length: made.machine.sms }, () => []);

function timesOf(
  made: Plan, sm: number, instruction: number, task: number, at: number, last: number,
  costs: Costs,
): InstructionTimes {
  const op = made.tasks.op[task] ?? 0;
  const { kind = "", scope = "" } = made.program.ops[op] ?? {};
  const segment = made.streams[sm]?.find((one) => one.task === task);
  const start = at + costs.dispatch;
  const ready = Math.max(start, last + costs.handOff);
  const common = {
    sm, instruction, op, kind, scope, layer: null,
    tileLo: made.tasks.tileLo[task] ?? 0, tileHi: made.tasks.tileHi[task] ?? 0, start, ready,
    streamedBytes: segment === undefined ? 0 : segment.chunks * segment.chunkBytes,
  };
  if (segment === undefined) {
    const attends = (made.program.ops[op]?.states.length ?? 0) > 0;
    const end = ready + (attends ? costs.attention : costs.compute);
    const none = { placed: null, stored: null };
    return { ...common, ...none, asked: null, data: null, consumed: null, end, stalledNanos: 0 };
  }
  const placed = ready + costs.norm;
  const asked = placed + costs.prepare;
  const data = asked + costs.ringEmpty;
  const consumed = data + costs.stalled + costs.stream;
  const stored = consumed + costs.finish;
  return {
    ...common, placed, asked, data, consumed, stored, end: stored + costs.signal,
    stalledNanos: costs.stalled,
  };
}
