/** @file Successive halving in a box of time: many candidates a little, the best of them longer. */

/** One evaluation: a time, or why the candidate is out. */
export type Outcome = { readonly ms: number } | { readonly refused: string };

export interface Rung {
  /** How much is measured of each candidate: launches. */
  readonly effort: number;
  /** Share of the candidates that go on from here. */
  readonly keep: number;
}

/** Efforts grow as candidates grow fewer, so that each rung costs about the same. */
export const rungs: readonly Rung[] = [
  { effort: 1, keep: 1 / 3 },
  { effort: 3, keep: 1 / 3 },
  { effort: 9, keep: 0 },
];

export interface Trial<C> {
  readonly candidate: C;
  readonly effort: number;
  readonly outcome: Outcome;
}

export interface HalvingRequest<C> {
  readonly candidates: readonly C[];
  readonly rungs?: readonly Rung[];
  evaluate(candidate: C, effort: number): Promise<Outcome>;
  /** Asked before each evaluation: false ends the search, with what is known. */
  hasTime(): boolean;
  readonly onTrial?: (trial: Trial<C>, left: number) => void;
}

export interface Ranked<C> {
  readonly candidate: C;
  /** By its longest evaluation. */
  readonly ms: number;
  readonly effort: number;
}

/**
 * The candidates that were not refused, those that went furthest first and faster ones before
 * slower ones (Jamieson and Talwalkar 2016). A candidate refused at any rung is out.
 */
export async function successiveHalving<C>(
  request: HalvingRequest<C>,
): Promise<readonly Ranked<C>[]> {
  const { evaluate, hasTime, onTrial } = request;
  const best = new Map<C, Ranked<C>>();
  let field = request.candidates;
  for (const { effort, keep } of request.rungs ?? rungs) {
    const done: Ranked<C>[] = [];
    for (const [i, candidate] of field.entries()) {
      if (!hasTime()) return order(best.values());
      const outcome = await evaluate(candidate, effort);
      onTrial?.({ candidate, effort, outcome }, field.length - i - 1);
      if ("refused" in outcome) {
        best.delete(candidate);
        continue;
      }
      const ranked = { candidate, effort, ms: outcome.ms };
      best.set(candidate, ranked);
      done.push(ranked);
    }
    field = order(done).slice(0, Math.max(1, Math.ceil(field.length * keep)))
      .map(({ candidate }) => candidate);
  }
  return order(best.values());
}

const order = <C>(all: Iterable<Ranked<C>>): readonly Ranked<C>[] =>
  [...all].sort((a, b) => b.effort - a.effort || a.ms - b.ms);
