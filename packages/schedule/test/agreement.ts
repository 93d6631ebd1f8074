/** @file What the short and the long comparison of verifier and SPIN share: plans, counts. */
import fc from "fast-check";
import { expect } from "vitest";
import type { LawName, Plan } from "../src/index.ts";
import {
  agreements, flaggedPlans, isExplained, mutatedPlans, mutationKinds, openBench, plans, toyTable,
  whyUnshown,
} from "../src/testing/index.ts";
import type { Agreement, Bench, Opinion, PlanSizes } from "../src/testing/index.ts";

export interface Series {
  readonly name: string;
  /** A flagged copy is used again in the third step of one token. */
  readonly steps: number;
  readonly plans: fc.Arbitrary<Plan>;
  readonly sound: number;
  /** Broken plans of each kind. */
  readonly perKind: number;
  readonly seed: number;
}

/** The ring's searches grow steeply with its stages and warps. */
function withSmallRing(from: fc.Arbitrary<Plan>, slots: number): fc.Arbitrary<Plan> {
  return from.filter(
    ({ ring, order }) =>
      ring.stages <= 4 && ring.consumerWarps <= 2 && order.items.length <= slots,
  );
}

export const counterPlans = (sizes: PlanSizes, slots: number): fc.Arbitrary<Plan> =>
  withSmallRing(plans(sizes), slots);
export const flagPlans = (sizes: PlanSizes, slots: number): fc.Arbitrary<Plan> =>
  withSmallRing(flaggedPlans(sizes), slots).filter(({ flags }) => flags.value.length > 0);

interface Tally extends Record<Agreement, number> {
  states: number;
  /** Of what the verifier alone refuses: the laws that explain it. */
  readonly unshown: Map<string, number>;
  /** Of what both refuse: by one law alone. A verifier without that law would be found out. */
  readonly alone: Map<LawName, number>;
}

const newTally = (): Tally => ({
  "agreed good": 0, "agreed bad": 0, "verifier only": 0, "SPIN only": 0, states: 0,
  unshown: new Map(), alone: new Map(),
});

/** Asks both, counts, and prints; a hole in the verifier or an unexplained difference fails. */
export function compare({ name, steps, plans: from, sound, perKind, seed }: Series): Tally {
  const sizes = { sms: 4, events: 24, history: 32, writers: 24 };
  const bench = openBench(toyTable, sizes, steps);
  const all = newTally();
  const lines: string[] = [];
  const ask = (what: string, asked: readonly Plan[]): void => {
    const tally = newTally();
    judge(bench, asked).forEach(([plan, opinion]) => {
      add(tally, opinion, plan, what);
      add(all, opinion, plan, what);
    });
    lines.push(line(what, tally));
  };
  try {
    ask("as planned", fc.sample(from, { numRuns: sound, seed }));
    expect(all["agreed good"]).toBe(sound);
    for (const kind of mutationKinds) {
      // Some break what plans of counters do not have.
      if (!name.includes("flag") && /flagged|flag a/.test(kind)) continue;
      const broken = fc.sample(mutatedPlans(from, [kind]), { numRuns: perKind, seed });
      ask(kind, broken.map(({ mutated }) => mutated));
    }
  } finally {
    bench.dispose();
  }
  const alone = `refused by both, and by one law alone: ${text(all.alone)}`;
  console.log([`${name}, ${steps} steps`, ...lines, line("all", all), alone].join("\n"));
  return all;
}

function judge(bench: Bench, asked: readonly Plan[]): readonly (readonly [Plan, Opinion])[] {
  const opinions = bench.judge(asked);
  return asked.flatMap((plan, i) => {
    const opinion = opinions[i];
    return opinion === undefined ? [] : [[plan, opinion] as const];
  });
}

function add(tally: Tally, opinion: Opinion, plan: Plan, what: string): void {
  tally[opinion.agreement]++;
  tally.states += opinion.states;
  const isWrong =
    opinion.agreement === "SPIN only" ||
    (opinion.agreement === "verifier only" && !isExplained(opinion));
  if (isWrong) console.log(what, JSON.stringify(plan));
  expect(isWrong, `${what}: ${JSON.stringify(opinion)}`).toBe(false);
  const [law] = opinion.laws;
  if (opinion.agreement === "agreed bad" && opinion.laws.length === 1 && law !== undefined) {
    tally.alone.set(law, (tally.alone.get(law) ?? 0) + 1);
  }
  if (opinion.agreement !== "verifier only") return;
  const laws = opinion.laws.filter((broken) => whyUnshown[broken] !== null).join(" and ");
  tally.unshown.set(laws, (tally.unshown.get(laws) ?? 0) + 1);
}

const text = (counts: ReadonlyMap<string, number>): string =>
  [...counts].map(([law, count]) => `${law} ${count}`).join(", ");

function line(name: string, tally: Tally): string {
  const parts = agreements.map((key) => `${tally[key]} ${key}`);
  const why = tally.unshown.size === 0 ? "" : ` (${text(tally.unshown)})`;
  return `${name.padEnd(34)} ${parts.join(", ")}${why}; ${tally.states} states`;
}
