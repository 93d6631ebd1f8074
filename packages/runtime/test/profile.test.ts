/** @file A profile read back from the words a kernel wrote. */
import { ProfileMark, profileWords, type ProfileLayout } from "@mpk/cuda/manifest";
import fc from "fast-check";
import { expect, test } from "vitest";
import { profileRoom, readProfile } from "../src/profile.ts";

const ops = [
  { kind: "embedding", scope: "", site: "" },
  { kind: "linear", scope: "layers.3.mlp", site: "" },
];
const marks = Object.keys(ProfileMark) as (keyof typeof ProfileMark)[];

/** Layouts of a few SMs, some without instructions; and which steps. */
const cases = fc.record({
  counts: fc.array(fc.nat(4), { minLength: 1, maxLength: 4 }),
  steps: fc.integer({ min: 1, max: 3 }),
  firstStep: fc.nat(5),
  zero: fc.bigInt({ min: 1n, max: 2n ** 62n }),
});

function layoutOf(counts: readonly number[]): ProfileLayout {
  const tasks = counts.map((n) => Array.from({ length: n }, (_, i) => [i % 2, i, i + 1, 8 * i]));
  return { records: 1 + Math.max(...counts), tasks: tasks.map((list) => list.flat()) };
}

test("every word is found where it was written, whatever the clock's zero", () => {
  fc.assert(
    fc.property(cases, ({ counts, steps, firstStep, zero }) => {
      const layout = layoutOf(counts);
      const wanted = { firstStep, steps };
      const room = profileRoom(layout, counts.length, wanted);
      const words = new BigUint64Array(room.timesBytes / 8);
      const full = new BigUint64Array(room.fullBytes / 8);
      const value = (step: number, sm: number, record: number, mark: number) =>
        step * 10_000 + sm * 1000 + record * 10 + mark;
      for (let step = 0; step < steps; step++) counts.forEach((count, sm) => {
        for (let record = 0; count > 0 && record <= count; record++) marks.forEach((mark) => {
          const at = ((step * counts.length + sm) * layout.records + record) * profileWords;
          const word = ProfileMark[mark];
          const written = value(step, sm, record, word);
          words[at + word] = mark === "stalled" ? BigInt(written) : zero + BigInt(written);
        });
      });
      const working = counts.flatMap((count, sm) => (count > 0 ? [sm] : []));
      const [first] = working;
      if (first !== undefined) {
        full.set([zero + 7n, zero + 9n], 2 * first * room.fullCount);
      }
      const profile = readProfile({ ops }, layout, wanted, words, full);
      if (first === undefined) return;
      const origin = value(0, first, 0, 0);
      expect(profile.steps.map(({ step }) => step)).toEqual(
        Array.from({ length: steps }, (_, i) => firstStep + i),
      );
      expect(profile.ringFull[first]).toEqual([{ from: 7 - origin, to: 9 - origin }]);
      expect(profile.ringFullCut).toBe(false);
      profile.steps.forEach(({ sms }, step) => {
        expect(sms.map(({ sm }) => sm)).toEqual(working);
        for (const { sm, arrived, opened, instructions } of sms) {
          expect([arrived, opened]).toEqual([0, 1].map((w) => value(step, sm, 0, w) - origin));
          expect(instructions).toHaveLength(counts[sm]!);
          instructions.forEach((one, i) => {
            expect(one).toMatchObject({
              sm, instruction: i, op: i % 2, layer: i % 2 === 1 ? 3 : null, tileLo: i,
              tileHi: i + 1, streamedBytes: 8 * i,
              stalledNanos: value(step, sm, i + 1, ProfileMark.stalled),
            });
            for (const mark of ["start", "ready", "asked", "data", "consumed", "end"] as const) {
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
  const words = new BigUint64Array(profileRoom(layout, 1, wanted).timesBytes / 8);
  words.set([100n, 110n], 0);
  words.set([120n, 130n, 0n, 0n, 0n, 150n], profileWords);
  const profile = readProfile({ ops }, layout, wanted, words, new BigUint64Array(2));
  expect(profile.steps).toHaveLength(1);
  expect(profile.steps[0]?.sms[0]).toMatchObject({
    arrived: 0, opened: 10,
    instructions: [{ start: 20, ready: 30, asked: null, data: null, consumed: null, end: 50 }],
  });
});
