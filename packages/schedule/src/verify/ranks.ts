/**
 * @file Several ranks, for law 6: everything lies where its rank can have it. Order between ranks
 * needs no rule of its own: their SMs are SMs like any others to laws 2 to 4. Pure.
 */
import { describeOp } from "../errors.ts";
import type { Model } from "./model.ts";
import { describeEvent, describeTask, taskLine, valueName } from "./report.ts";
import type { LawBook } from "./report.ts";

export function rankOfSm({ ranks, machine }: Model["plan"], sm: number): number {
  return Math.floor(sm / (machine.sms / ranks));
}

/** By op: the rank of its tasks; -1 where it has none. */
export function rankOfOps(model: Model): Int32Array {
  const ranks = new Int32Array(model.ops.length).fill(-1);
  model.opSlots.forEach((slots, op) => {
    const [slot] = slots;
    if (slot !== undefined) ranks[op] = rankOfSm(model.plan, model.slotSm[slot] ?? 0);
  });
  return ranks;
}

export function checkRanks(model: Model, law: LawBook): void {
  const { plan } = model;
  if (plan.ranks === 1) return;
  law.count("ranks", plan.ranks);
  const ranks = rankOfOps(model);
  checkOps(model, ranks, law);
  checkArenas(model, ranks, law);
  checkStates(model, ranks, law);
  checkPolls(model, law);
}

function checkOps({ plan, ops, opSlots, slotSm }: Model, ranks: Int32Array, law: LawBook): void {
  opSlots.forEach((slots, op) => {
    const stray = slots.find((slot) => rankOfSm(plan, slotSm[slot] ?? 0) !== ranks[op]);
    const found = ops[op];
    if (stray === undefined || found === undefined) return;
    law.violate(
      `${describeOp(found.op)}: runs on rank ${ranks[op]} and, on SM ${slotSm[stray]}, on rank ` +
        `${rankOfSm(plan, slotSm[stray] ?? 0)}; an op's weights and results lie on one`,
    );
  });
}

/** A value lies in the arena of the rank that writes it; others read it there. */
function checkArenas({ plan, ops, resolve }: Model, ranks: Int32Array, law: LawBook): void {
  const arena = plan.scratchBytes / plan.ranks;
  const writers = new Map(ops.flatMap(({ op, view }, index) =>
    view === null ? op.outputs.map((value) => [value, ranks[index] ?? -1] as const) : []));
  ops.forEach(({ op, view }, index) => {
    const rank = ranks[index] ?? -1;
    if (view !== null || rank < 0) return;
    for (const value of op.outputs) {
      const place = plan.placements[value];
      if (place?.kind !== "scratch") continue;
      const [lo, hi] = [rank * arena, (rank + 1) * arena];
      if (place.offsetBytes >= lo && place.offsetBytes + place.bytes <= hi) continue;
      law.violate(
        `${valueName(plan, value)}: rank ${rank} writes it at byte ${place.offsetBytes}, outside of ` +
          `its arena, bytes ${lo}..${hi}`,
      );
    }
    for (const value of op.inputs) {
      const writer = writers.get(resolve(value).base) ?? rank;
      if (writer !== rank) law.count("inputs of other ranks");
    }
  });
}

function checkStates({ plan, ops }: Model, ranks: Int32Array, law: LawBook): void {
  const owner = new Map<number, number>();
  ops.forEach(({ op }, index) => {
    const rank = ranks[index] ?? -1;
    for (const state of rank < 0 ? [] : op.states) {
      const known = owner.get(state) ?? rank;
      owner.set(state, known);
      if (known === rank) continue;
      law.violate(`${valueName(plan, state)}: is kept by ranks ${known} and ${rank}`);
    }
  });
}

/** Waits poll a counter of their own rank; triggers reach it from every rank. */
function checkPolls({ plan, slots, slotTask, slotSm }: Model, law: LawBook): void {
  const { waits, signals, events } = plan;
  for (let slot = 0; slot < slots; slot++) {
    const task = slotTask[slot] ?? -1;
    const rank = rankOfSm(plan, slotSm[slot] ?? 0);
    for (const event of waits.items.subarray(waits.start[task], waits.start[task + 1])) {
      law.count("polls");
      if (events.homeRank[event] === rank) continue;
      law.violate(
        `${describeTask(plan, task)} polls ${describeEvent(plan, event)} of rank ` +
          `${events.homeRank[event]} from rank ${rank}`,
        [taskLine(plan, task)],
      );
    }
    for (const event of signals.items.subarray(signals.start[task], signals.start[task + 1])) {
      if (events.homeRank[event] !== rank) law.count("triggers to other ranks");
    }
  }
}
