/** @file Fits the simulator's costs to measured step times. Pure but for the time it is given. */
import { scheduleTable } from "@mpk/ops";
import { simulatorOf, type Plan, type SimulationConstants } from "@mpk/schedule";
import { leastSquares } from "./least-squares.ts";

/** A step that was measured. */
export interface Observation {
  readonly name: string;
  /**
   * Plans whose steps, so many times each, make it: one, once; or two of the same model with few of
   * its layers, which stand for all of them in a fraction of the time.
   */
  readonly plans: readonly { readonly plan: Plan; readonly times: number }[];
  readonly context: number;
  readonly nanos: number;
  /** What its kernel had otherwise than all others. */
  readonly costs?: Partial<SimulationConstants>;
}

export interface Predicted {
  readonly name: string;
  readonly nanos: number;
  readonly predictedNanos: number;
}

/** Percent by which a prediction is too long. */
export const errorPercent = ({ nanos, predictedNanos }: Omit<Predicted, "name">): number =>
  (predictedNanos / nanos - 1) * 100;

/**
 * What is fitted, with how far from the start it may well be: the standard deviation of its
 * logarithm. Observations of sums cannot tell all costs apart; what they leave open stays near.
 */
const fitted = {
  streamShare: 0.02, copyLatencyNanos: 0.15, flagNanos: 0.5, handOffNanos: 0.2, prologueNanos: 0.3,
  epilogueNanos: 0.3, stateNanos: 0.2, stateBytesPerNano: 0.3, chunkNanos: 0.5,
  stageNanos: 0.2,
  handOffSpreadNanos: 0.5, copySpreadNanos: 0.5,
} as const satisfies Partial<Record<keyof SimulationConstants, number>>;
type Fitted = keyof typeof fitted;
const names = Object.keys(fitted) as readonly Fitted[];

/** What a distance of one deviation weighs against an error of one per cent, both squared. */
const priorWeight = 0.03;

/** What is predicted of an observation under any constants. */
export function predictor(
  { name, plans, context, nanos, costs }: Observation,
): (constants: SimulationConstants) => Predicted {
  const parts = plans.map(({ plan, times }) => ({ run: simulatorOf(plan, scheduleTable), times }));
  return (constants) => {
    const predictedNanos = parts.reduce((sum, { run, times }) =>
      sum + times * run({ ...constants, ...costs }, { context }).stepNanos, 0);
    return { name, nanos, predictedNanos };
  };
}

/** Costs near `start` under which the observations are predicted best; `hasTime` is asked often. */
export function fitCosts(
  observations: readonly Observation[],
  start: SimulationConstants,
  hasTime: () => boolean,
): SimulationConstants {
  const predictors = observations.map(predictor);
  const errors = (constants: SimulationConstants): readonly number[] =>
    predictors.map((predict) => errorPercent(predict(constants)));
  return fitErrors(errors, start, hasTime);
}

/** Costs near `start` under which errors, in per cent, have the least squares. */
export function fitErrors(
  errorsOf: (constants: SimulationConstants) => readonly number[],
  start: SimulationConstants,
  hasTime: () => boolean,
): SimulationConstants {
  const at = (point: readonly number[]): SimulationConstants => ({
    ...start,
    ...Object.fromEntries(names.map((name, i) => {
      const value = start[name] * Math.exp((point[i] ?? 0) * fitted[name]);
      return [name, name === "streamShare" ? Math.min(1, value) : value];
    })),
  });
  const all = (point: readonly number[]): readonly number[] =>
    [...errorsOf(at(point)), ...point.map((x) => Math.sqrt(priorWeight) * x)];
  const rounded = Object.entries(at(leastSquares(all, names.length, hasTime)));
  return Object.freeze(Object.fromEntries(rounded.map(([name, value]) =>
    [name, Number(value.toPrecision(4))])) as unknown as SimulationConstants);
}
