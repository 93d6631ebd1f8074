/** @file The planner's choices that a search may change, as data. Pure. */
import type { PlanOptions } from "@mpk/schedule";

/** A knob's values, its default first or left out: that one is the planner's own choice. */
type Knobs = { readonly [K in keyof Choice]?: readonly NonNullable<Choice[K]>[] };

/**
 * Another knob is one line here. Numbers are JSON's: what is found is stored. What helped before comes
 * first: a search with little time tries no more.
 */
export const knobs: Knobs = {
  // A smaller ring leaves room for activations and for the first-level cache, and buffers less.
  stages: [16, 8, 24],
  // Outstanding bytes: more reads faster, and slows the hand-offs (docs/performance.md).
  maxInFlight: [8, 7, 5, 6, 4, 10, 12, 3],
  // Evening out bytes over layers.
  period: [2, 4, 3, 6],
  // More, smaller tiles everywhere, or none where the planner has them.
  folds: [2, 1, 4],
  stageBytes: [16384, 4096],
  protocol: ["counter"],
};

type Name = keyof Choice;
const names = Object.keys(knobs) as readonly Name[];

/** One candidate: what differs from the planner's own choices. Ranks are the program's. */
export type Choice = Omit<PlanOptions, "ranks">;

/** A choice in a stable order of names, for comparing and storing. */
export function choiceText(choice: Choice): string {
  const given = names.filter((name) => choice[name] !== undefined);
  return given.map((name) => `${name} ${String(choice[name])}`).join(", ") || "the defaults";
}

/** Every change of one knob. */
export function singleChanges(all: Knobs = knobs): readonly Choice[] {
  return Object.entries(all).flatMap(([name, values]) =>
    values.map((value): Choice => ({ [name]: value })));
}

/**
 * Choices that change several knobs at once, each to a value that helped alone; those whose gains
 * add up to the most come first.
 * @param helped gains by choice of one knob, milliseconds saved, all above 0
 */
export function combinations(
  helped: readonly { readonly choice: Choice; readonly gain: number }[],
): readonly Choice[] {
  const byKnob = new Map<string, { value: Choice; gain: number }[]>();
  for (const { choice, gain } of helped) {
    const key = Object.keys(choice).join();
    byKnob.set(key, [...(byKnob.get(key) ?? []), { value: choice, gain }]);
  }
  let made: { value: Choice; gain: number; knobs: number }[] = [{ value: {}, gain: 0, knobs: 0 }];
  for (const options of byKnob.values()) {
    made = made.flatMap((one) => [
      one,
      ...options.map(({ value, gain }) => ({
        value: { ...one.value, ...value }, gain: one.gain + gain, knobs: one.knobs + 1,
      })),
    ]);
  }
  return made.filter((one) => one.knobs > 1).sort((a, b) => b.gain - a.gain)
    .map(({ value }) => value);
}

/** Whether stored data is a choice of knobs that exist, with values of the right kind. */
export function isChoice(value: unknown): value is Choice {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.entries(value).every(([name, chosen]) => {
    const values: readonly unknown[] = Object.hasOwn(knobs, name) ? knobs[name as Name] ?? [] : [];
    return values.some((each) => each === chosen);
  });
}
