/** @file A profile read back from the words a kernel wrote. */
import { ProfileMark, profileWords, StepMark, type ProfileLayout } from "@mpk/cuda/manifest";
import fc from "fast-check";
import { expect, test } from "vitest";
import { profileRoom, readProfile, type ProfileWanted } from "../src/profile.ts";

const ops = [
  { kind: "embedding", scope: "", site: "" },
  { kind: "linear", scope: "layers.3.mlp", site: "" },
];
const marks = (Object.keys(ProfileMark) as (keyof typeof ProfileMark)[])
  .filter((mark) => mark !== "stalled");

/** Layouts of a few SMs, some without instructions; which steps; and clocks that count their own way. */
const cases = fc.record({
  counts: fc.array(fc.nat(4), { minLength: 1, maxLength: 4 }),
  steps: fc.integer({ min: 1, max: 3 }),
  firstStep: fc.nat(5),
  zero: fc.bigInt({ min: 1n, max: 2n ** 62n }),
  clocks: fc.array(
    // Quarters: whole nanoseconds are whole clocks, as no fraction of a clock is written.
    fc.record({ zero: fc.nat(0xffffffff), perNano: fc.constantFrom(1, 1.25, 1.75, 2) }),
    { minLength: 4, maxLength: 4 },
  ),
});

function layoutOf(counts: readonly number[]): ProfileLayout {
  const tasks = counts.map((n) => Array.from({ length: n }, (_, i) => [i % 2, i, i + 1, 8 * i]));
  return { records: 1 + Math.max(...counts), tasks: tasks.map((list) => list.flat()) };
}

/** What a kernel writes, from times in nanoseconds since `zero`. */
class Writer {
  readonly #layout: ProfileLayout;
  readonly #zero: bigint;
  readonly #clock: (sm: number, nanos: number) => number;
  readonly #room;
  readonly words: Uint32Array;
  readonly full: Uint32Array;

  constructor(
    layout: ProfileLayout,
    wanted: ProfileWanted,
    zero = 1000n,
    clock: (sm: number, nanos: number) => number = (_, nanos) => nanos,
  ) {
    this.#layout = layout;
    this.#zero = zero;
    this.#clock = clock;
    this.#room = profileRoom(layout, layout.tasks.length, wanted);
    this.words = new Uint32Array(this.#room.timesBytes / 4);
    this.full = new Uint32Array(this.#room.fullBytes / 4);
  }
  #put(step: number, sm: number, record: number, word: number, value: number) {
    const { records, tasks } = this.#layout;
    this.words[((step * tasks.length + sm) * records + record) * profileWords + word] = value;
  }
  mark(step: number, sm: number, record: number, word: number, nanos: number) {
    this.#put(step, sm, record, word, this.#clock(sm, nanos));
  }
  stall(step: number, sm: number, record: number, nanos: number) {
    const clocks = this.#clock(sm, nanos) - this.#clock(sm, 0);
    this.#put(step, sm, record, ProfileMark.stalled, clocks);
  }
  step(step: number, sm: number, arrived: number, opened: number, done: number) {
    this.mark(step, sm, 0, StepMark.arrived, arrived);
    this.mark(step, sm, 0, StepMark.opened, opened);
    this.mark(step, sm, 0, StepMark.done, done);
    for (const [word, at] of [[StepMark.arrivedNanos, arrived], [StepMark.doneNanos, done]] as const) {
      const nanos = this.#zero + BigInt(at);
      this.#put(step, sm, 0, word, Number(nanos & 0xffffffffn));
      this.#put(step, sm, 0, word + 1, Number(nanos >> 32n));
    }
  }
  waited(sm: number, entry: number, from: number, to: number) {
    const begin = this.#clock(sm, from);
    const at = 2 * (sm * this.#room.fullCount + entry);
    this.full.set([begin, this.#clock(sm, to) - begin], at);
  }
}

test("every word is found where it was written, whatever the clocks' zeros and rates", () => {
  fc.assert(
    fc.property(cases, ({ counts, steps, firstStep, zero, clocks }) => {
      const layout = layoutOf(counts);
      const wanted = { firstStep, steps };
      const wrote = new Writer(layout, wanted, zero, (sm, nanos) =>
        clocks[sm]!.zero + clocks[sm]!.perNano * nanos);
      // Clocks of 0 are marks that were not made.
      const value = (step: number, sm: number, record: number, word: number) =>
        4 * (step * 10_000 + sm * 1000 + record * 100 + word);
      const done = (step: number, sm: number) => value(step, sm, 9, 0);
      counts.forEach((count, sm) => {
        for (let step = 0; count > 0 && step < steps; step++) {
          wrote.step(step, sm, value(step, sm, 0, 0), value(step, sm, 0, 1), done(step, sm));
          for (let record = 1; record <= count; record++) {
            for (const mark of marks) {
              const word = ProfileMark[mark];
              wrote.mark(step, sm, record, word, value(step, sm, record, word));
            }
            wrote.stall(step, sm, record, 4 * record);
          }
          wrote.waited(sm, 2 * step, done(step, sm) - 8, done(step, sm) + 4);
          wrote.waited(sm, 2 * step + 1, done(step, sm) + 100, done(step, sm) + 200);
        }
      });
      const profile = readProfile({ ops }, layout, wanted, wrote.words, wrote.full);
      const working = counts.flatMap((count, sm) => (count > 0 ? [sm] : []));
      const [first] = working;
      if (first === undefined) return;
      const origin = value(0, first, 0, 0);
      const lost = clocks.some((clock) => clock.zero + 1e6 > 0xffffffff);
      expect(profile.steps.map(({ step }) => step)).toEqual(
        Array.from({ length: steps }, (_, i) => firstStep + i),
      );
      for (const sm of working) {
        expect(profile.ringFull[sm]).toEqual(Array.from({ length: steps }, (_, step) => [
          { from: done(step, sm) - 8 - origin, to: done(step, sm) + 4 - origin },
          { from: done(step, sm) + 100 - origin, to: done(step, sm) + 200 - origin },
        ]).flat());
      }
      expect(profile.ringFullCut).toBe(false);
      profile.steps.forEach(({ sms }, step) => {
        expect(sms.map(({ sm }) => sm)).toEqual(working);
        for (const { sm, arrived, opened, instructions } of sms) {
          expect([arrived, opened]).toEqual([0, 1].map((w) => value(step, sm, 0, w) - origin));
          expect(instructions).toHaveLength(counts[sm]!);
          instructions.forEach((one, i) => {
            expect(one).toMatchObject({
              sm, instruction: i, op: i % 2, layer: i % 2 === 1 ? 3 : null, tileLo: i,
              tileHi: i + 1, streamedBytes: 8 * i, stalledNanos: 4 * (i + 1),
            });
            // A word that happens to be 0 is taken for none.
            for (const mark of lost ? [] : marks) {
              expect(one[mark]).toBe(value(step, sm, i + 1, ProfileMark[mark]) - origin);
            }
          });
        }
      });
    }),
  );
});

test("steps that did not run are left out; absent marks are null", () => {
  const layout = layoutOf([1]);
  const wanted = { firstStep: 2, steps: 2 };
  const wrote = new Writer(layout, wanted);
  wrote.step(0, 0, 100, 110, 200);
  wrote.mark(0, 0, 1, ProfileMark.start, 120);
  wrote.mark(0, 0, 1, ProfileMark.ready, 130);
  wrote.mark(0, 0, 1, ProfileMark.end, 150);
  const profile = readProfile({ ops }, layout, wanted, wrote.words, wrote.full);
  expect(profile.steps).toHaveLength(1);
  const none = {
    placed: null, asked: null, data: null, consumed: null, stored: null,
  };
  expect(profile.steps[0]?.sms[0]).toMatchObject({
    arrived: 0, opened: 10,
    instructions: [{ start: 20, ready: 30, ...none, end: 50, stalledNanos: 0 }],
  });
});

test("an SM's clock, exact, is placed by a shared one that ticks every 32 ns", () => {
  const layout = layoutOf([1, 1]);
  const wrote = new Writer(layout, { firstStep: 0, steps: 1 }, 0n, (sm, nanos) =>
    Math.round(1.98 * nanos + 1e6 * sm));
  for (const sm of [0, 1]) {
    wrote.step(0, sm, 1000 + 3 * sm, 2000, 700_000 + 5 * sm);
    wrote.mark(0, sm, 1, ProfileMark.start, 3000 + 10 * sm);
    wrote.mark(0, sm, 1, ProfileMark.end, 3700 + 10 * sm);
    const at = sm * layout.records * profileWords;
    for (const word of [StepMark.arrivedNanos, StepMark.doneNanos]) {
      wrote.words[at + word]! &= ~31;
    }
  }
  const { steps } = readProfile({ ops }, layout, { firstStep: 0, steps: 1 }, wrote.words, wrote.full);
  const [a, b] = steps[0]!.sms.map(({ instructions }) => instructions[0]!);
  for (const { start, end } of [a!, b!]) expect(Math.abs(end - start - 700)).toBeLessThanOrEqual(1);
  expect(Math.abs(b!.start - a!.start - 10)).toBeLessThanOrEqual(33);
});
