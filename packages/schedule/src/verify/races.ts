/**
 * @file Law 2: every read happens after the writes it overlaps; state and step descriptor too.
 * Reuse of bytes is checked in `reuse.ts` on the clocks gathered here.
 *
 * Within a step, step 0 has the fewest waits that bind (those for a previous step pass at once),
 * so what holds there holds in every step; likewise step 1 for what step 0 left behind.
 */
import { reaches, unrolledSteps } from "./execution.ts";
import type { OnStart, Watch } from "./execution.ts";
import type { Model } from "./model.ts";
import { describeTask, taskLine, valueName } from "./report.ts";
import type { LawBook } from "./report.ts";
import type { Touches } from "./touches.ts";

/** By step, by base value: per SM, the fewest slots done before any of its writers starts. */
export type WriterClocks = readonly (readonly (Int32Array | undefined)[])[];

export interface RaceWatch {
  readonly watch: Required<Watch>;
  readonly writerClocks: WriterClocks;
}

export function watchRaces(model: Model, touches: Touches, law: LawBook): RaceWatch {
  const { plan, slotSm, slotTask } = model;
  const { start } = plan.order;
  const writerClocks: (Int32Array | undefined)[][] = Array.from(
    { length: unrolledSteps }, () => [],
  );
  const effects = effectPlaces(model);
  const isDone = (clock: Int32Array, slot: number, step: number): boolean => {
    const sm = slotSm[slot] ?? 0;
    const length = (start[sm + 1] ?? 0) - (start[sm] ?? 0);
    return (clock[sm] ?? 0) >= step * length + (touches.place[slot] ?? 0);
  };
  const blame = (what: string, first: number, second: number): void => {
    const [a, b] = [slotTask[first] ?? -1, slotTask[second] ?? -1];
    law.violate(`${what}: ${describeTask(plan, b)} does not wait for ${describeTask(plan, a)}`, [
      taskLine(plan, a), taskLine(plan, b),
      "no chain of program order and events leads from the first to the second",
    ]);
  };

  const checkReads = (slot: number, clock: Int32Array): void => {
    for (const { value, lo, hi } of model.reads(slot)) {
      const touched = touches.values[value];
      if (touched === undefined || plan.program.values[value]?.origin.kind !== "op") continue;
      law.count("reads");
      if (reaches(clock, touched.lastWrite, start, 0)) continue;
      for (const write of touched.writes) {
        if (write.lo >= hi) break;
        if (write.hi <= lo || isDone(clock, write.slot, 0)) continue;
        const columns = `columns ${Math.max(lo, write.lo)}..${Math.min(hi, write.hi)}`;
        blame(`${columns} of ${valueName(plan, value)} are read too early`, write.slot, slot);
        break;
      }
    }
  };

  const checkStates = (slot: number, step: number, clock: Int32Array): void => {
    for (const access of model.states(slot)) {
      const rows = access.rows;
      // Past rows were appended by earlier steps; this step's rows by this step's tasks.
      if (step !== (rows === "past" ? 1 : 0) || access.write) continue;
      law.count("state reads");
      for (const other of touches.states.get(access.state) ?? []) {
        const overlap = other.lo < access.hi && access.lo < other.hi;
        if (!other.write || !overlap || isDone(clock, other.slot, 0)) continue;
        blame(`${valueName(plan, access.state)}: rows are read too early`, other.slot, slot);
        break;
      }
    }
  };

  const onEnter: OnStart = (slot, step, clock) => {
    if (effects === null || step === 0) return;
    law.count("step descriptor reads");
    if (reaches(clock, effects.places, start, step - 1)) return;
    const early = effects.slots.find((effect) => !isDone(clock, effect, step - 1)) ?? slot;
    blame(`the step descriptor is read too early in step ${step}`, early, slot);
  };

  const checkDescriptorWrite = (slot: number, step: number, clock: Int32Array): void => {
    if (effects === null || step === 0 || !effects.slots.includes(slot)) return;
    const sm = slotSm[slot] ?? 0;
    // Two descriptors take turns: writing the next step's overwrites the previous step's.
    for (let other = 0; other < plan.machine.sms; other++) {
      const [from, to] = [start[other] ?? 0, start[other + 1] ?? 0];
      if (from === to || other === sm || isDone(clock, to - 1, step - 1)) continue;
      blame(`the step descriptor may still be read when it is overwritten`, to - 1, slot);
    }
  };

  const onStart: OnStart = (slot, step, clock) => {
    if (step === 0) checkReads(slot, clock);
    if (step <= 1) checkStates(slot, step, clock);
    checkDescriptorWrite(slot, step, clock);
    for (const { value } of model.writes(slot)) {
      const row = writerClocks[step];
      const known = row?.[value];
      if (row === undefined) continue;
      if (known === undefined) row[value] = clock.slice();
      else lower(known, clock);
    }
  };
  return { watch: { onStart, onEnter }, writerClocks };
}

function lower(into: Int32Array, other: Int32Array): void {
  for (let sm = 0; sm < into.length; sm++) {
    const x = other[sm] as number;
    if (x < (into[sm] as number)) into[sm] = x;
  }
}

/** The slots that write the step descriptor, or null where no op does: then the host opens steps. */
function effectPlaces(model: Model): { slots: readonly number[]; places: Int32Array } | null {
  const slots = model.ops.flatMap(({ schedule }, op) =>
    schedule.semantics.traits.effect ? (model.opSlots[op] ?? []) : [],
  );
  if (slots.length === 0) return null;
  const places = new Int32Array(model.plan.machine.sms);
  for (const slot of slots) {
    const sm = model.slotSm[slot] ?? 0;
    places[sm] = Math.max(places[sm] ?? 0, slot - (model.plan.order.start[sm] ?? 0) + 1);
  }
  return { slots, places };
}
