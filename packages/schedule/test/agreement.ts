/** @file What the short and the long comparison of verifier and SPIN share: plans, counts, table. */
import fc from "fast-check";
import { expect } from "vitest";
import type { Plan } from "../src/index.ts";
import {
  agreements, isExplained, mutatedPlans, mutationKinds, openBench, plans, toyTable, whyUnshown,
} from "../src/testing/index.ts";
import type { Agreement, MutationKind, Opinion } from "../src/testing/index.ts";

export const steps = 2;

/** Plans whose models have some ten thousand states; the ring's grow fastest, with its stages. */
export function smallPlans(maxOps: number, mostStages: number): fc.Arbitrary<Plan> {
  return plans({ maxOps, minSms: 2, maxSms: 3 }).filter(({ ring, order }) => {
    return ring.stages <= mostStages && ring.consumerWarps <= 2 && order.items.length <= 16;
  });
}

export const bench = () => openBench(toyTable, { sms: 4, events: 24, history: 24 }, steps);

export type Tally = Record<Agreement, number> & { states: number; laws: Map<string, number> };

export const newTally = (): Tally => ({
  "agreed good": 0, "agreed bad": 0, "verifier only": 0, "SPIN only": 0, states: 0, laws: new Map(),
});

/** Adds an opinion; a hole in the verifier or an unexplained difference fails with the plan. */
export function add(tally: Tally, opinion: Opinion, plan: Plan | undefined, what: string): void {
  tally[opinion.agreement]++;
  tally.states += opinion.states;
  const isWrong =
    opinion.agreement === "SPIN only" ||
    (opinion.agreement === "verifier only" && !isExplained(opinion));
  if (isWrong) console.log(what, JSON.stringify(opinion), JSON.stringify(plan));
  expect(isWrong, `${what}: ${JSON.stringify(opinion)}`).toBe(false);
  if (opinion.agreement !== "verifier only") return;
  const laws = opinion.laws.filter((law) => whyUnshown[law] !== null).join(" and ");
  tally.laws.set(laws, (tally.laws.get(laws) ?? 0) + 1);
}

export function line(name: string, tally: Tally): string {
  const parts = agreements.map((key) => `${tally[key]} ${key}`);
  const laws = [...tally.laws].map(([law, count]) => `${law} ${count}`).join(", ");
  const why = laws === "" ? "" : ` (${laws})`;
  return `${name.padEnd(28)} ${parts.join(", ")}${why}; ${tally.states} states`;
}

/** Of the model's plans: it knows counters only. */
export const kinds = mutationKinds.filter((kind) => !/flag/.test(kind) || kind.includes("crossStep"));

/** Broken copies of small plans, the same for the same seed. */
export const broken = (kind: MutationKind, count: number, seed: number, from: fc.Arbitrary<Plan>) =>
  fc.sample(mutatedPlans(from, [kind]), { numRuns: count, seed }).map(({ mutated }) => mutated);
