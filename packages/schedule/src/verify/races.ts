/**
 * @file Law 2: every read happens after the writes it overlaps; state and step descriptor too.
 * Reuse of bytes is checked in `reuse.ts` on the clocks gathered here.
 *
 * Within a step, step 0 has the fewest waits that bind (those for a previous step pass at once),
 * so what holds there holds in every step; likewise step 1 for what step 0 left behind.
 *
 * Words of flagged values are polled one by one: a read needs no order but that each copy is cleared
 * before the step that polls it, and read before it is cleared. Where a plan has such values, all of
 * a step must be over before the next begins: then that holds, and what two steps show, whatever
 * their kinds, holds for all successions.
 */
import { reaches, unrolledSteps } from "./execution.ts";
import type { Happening } from "./evidence.ts";
import type { OnStart, StepKind, Watch } from "./execution.ts";
import type { Model } from "./model.ts";
import { describeTask, taskLine, valueName } from "./report.ts";
import type { LawBook } from "./report.ts";
import type { Touches } from "./touches.ts";

/** By step, by base value: per SM, the fewest slots done before any of its writers starts. */
export type WriterClocks = readonly (readonly (Int32Array | undefined)[])[];

/** Watches an execution; what it finds goes to the law's book. */
export class RaceWatch implements Watch {
  readonly writerClocks: (Int32Array | undefined)[][];
  readonly #model: Model;
  readonly #touches: Touches;
  readonly #law: LawBook;
  readonly #start: Int32Array;
  readonly #effects: { slots: readonly number[]; places: Int32Array } | null;
  readonly #kinds: readonly StepKind[];
  /** Per SM, all of its slots; null where steps may overlap. */
  readonly #whole: Int32Array | null;

  constructor(model: Model, touches: Touches, law: LawBook, kinds: readonly StepKind[]) {
    this.#model = model;
    this.#touches = touches;
    this.#law = law;
    this.#start = model.plan.order.start;
    this.#effects = effectPlaces(model);
    this.#kinds = kinds;
    const lengths = this.#start.subarray(1).map((end, sm) => end - (this.#start[sm] ?? 0));
    this.#whole = kinds.includes("one") || model.plan.flags.value.length > 0 ? lengths : null;
    this.writerClocks = Array.from({ length: unrolledSteps }, () => []);
  }

  readonly onStart: OnStart = (slot, step, clock) => {
    if (step === 0) this.#checkReads(slot, clock);
    this.#checkStates(slot, step, clock);
    this.#checkDescriptorWrite(slot, step, clock);
    for (const { value } of this.#model.writes(slot)) {
      const row = this.writerClocks[step];
      const known = row?.[value];
      if (row === undefined) continue;
      if (known === undefined) row[value] = clock.slice();
      else lower(known, clock);
    }
  };

  /** An SM reads the step descriptor as it enters a step, before any wait within it. */
  readonly onEnter: OnStart = (slot, step, clock) => {
    if (this.#whole !== null && step > 0) this.#checkClosed(slot, step, clock, this.#whole);
    const effects = this.#effects;
    if (effects === null || step === 0) return;
    this.#law.count("step descriptor reads");
    if (reaches(clock, effects.places, this.#start, step - 1)) return;
    const early = effects.slots.find((effect) => !this.#isDone(clock, effect, step - 1)) ?? slot;
    const what = "the step descriptor";
    this.#blame(`${what} is read too early in step ${step}`, what, [
      this.#at(early, step - 1), this.#at(slot, step, true),
    ]);
  };

  #checkClosed(slot: number, step: number, clock: Int32Array, whole: Int32Array): void {
    this.#law.count("closed steps");
    if (reaches(clock, whole, this.#start, step - 1)) return;
    const { slots } = this.#model;
    let early = 0;
    while (early < slots - 1 && this.#isDone(clock, early, step - 1)) early++;
    this.#blame(`step ${step - 1} may not be over when step ${step} begins`, "flagged values", [
      this.#at(early, step - 1), this.#at(slot, step, true),
    ]);
  }

  #checkReads(slot: number, clock: Int32Array): void {
    const { values } = this.#model.plan.program;
    for (const { value, lo, hi } of this.#model.reads(slot)) {
      if (this.#kinds[0] === "one" && this.#model.isFlagged(value)) {
        this.#law.count("polls");
        continue;
      }
      const touched = this.#touches.values[value];
      if (touched === undefined || values[value]?.origin.kind !== "op") continue;
      this.#law.count("reads");
      if (reaches(clock, touched.lastWrite, this.#start, 0)) continue;
      for (const write of touched.writes) {
        if (write.lo >= hi) break;
        if (write.hi <= lo || this.#isDone(clock, write.slot, 0)) continue;
        const columns = `columns ${Math.max(lo, write.lo)}..${Math.min(hi, write.hi)}`;
        const name = valueName(this.#model.plan, value);
        const what = `${columns} of ${name}`;
        this.#blame(`${what} are read too early`, what, [
          this.#at(write.slot, 0), this.#at(slot, 0),
        ]);
        break;
      }
    }
  }

  #checkStates(slot: number, step: number, clock: Int32Array): void {
    for (const access of this.#model.states(slot)) {
      // Past rows were appended by earlier steps; this step's rows by this step's tasks.
      if (step !== (access.rows === "past" ? 1 : 0) || access.write) continue;
      this.#law.count("state reads");
      for (const other of this.#touches.states.get(access.state) ?? []) {
        const overlap = other.lo < access.hi && access.lo < other.hi;
        if (!other.write || !overlap || this.#isDone(clock, other.slot, 0)) continue;
        const name = valueName(this.#model.plan, access.state);
        this.#blame(`${name}: rows are read too early`, `rows of ${name}`, [
          this.#at(other.slot, 0), this.#at(slot, step),
        ]);
        break;
      }
    }
  }

  /**
   * Two descriptors take turns: writing the next step's overwrites the previous step's, which every
   * SM reads as it enters that step. That is over once its first task there is.
   */
  #checkDescriptorWrite(slot: number, step: number, clock: Int32Array): void {
    if (this.#effects === null || step === 0 || !this.#effects.slots.includes(slot)) return;
    const { plan, slotSm } = this.#model;
    for (let other = 0; other < plan.machine.sms; other++) {
      const [from, to] = [this.#start[other] ?? 0, this.#start[other + 1] ?? 0];
      const isOwn = other === slotSm[slot];
      if (from === to || isOwn || this.#isDone(clock, from, step - 1)) continue;
      const what = "the step descriptor";
      this.#blame(`${what} may still be read when it is overwritten`, what, [
        this.#at(from, step - 1, true), this.#at(slot, step),
      ]);
    }
  }

  #isDone(clock: Int32Array, slot: number, step: number): boolean {
    const sm = this.#model.slotSm[slot] ?? 0;
    const length = (this.#start[sm + 1] ?? 0) - (this.#start[sm] ?? 0);
    return (clock[sm] ?? 0) >= step * length + (this.#touches.place[slot] ?? 0);
  }

  #at(slot: number, step: number, entering = false): Happening {
    const sm = this.#model.slotSm[slot] ?? 0;
    return { sm, place: slot - (this.#start[sm] ?? 0), step, entering };
  }

  #blame(told: string, what: string, [first, second]: readonly [Happening, Happening]): void {
    const { plan, slotTask } = this.#model;
    const taskOf = ({ sm, place }: Happening): number =>
      slotTask[(this.#start[sm] ?? 0) + place] ?? -1;
    const [a, b] = [taskOf(first), taskOf(second)];
    const message = `${describeTask(plan, b)} does not wait for ${describeTask(plan, a)}`;
    this.#law.violate(
      `${told}: ${message}`,
      [
        taskLine(plan, a), taskLine(plan, b),
        "no chain of program order and events leads from the first to the second",
      ],
      { kind: "race", kinds: this.#kinds, what, first, second },
    );
  }
}

function lower(into: Int32Array, other: Int32Array): void {
  for (let sm = 0; sm < into.length; sm++) {
    const x = other[sm] as number;
    if (x < (into[sm] as number)) into[sm] = x;
  }
}

/** The slots that write the step descriptor; null where no op does and the host opens steps. */
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
