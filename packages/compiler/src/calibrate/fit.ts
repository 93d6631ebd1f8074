/** @file Fits the simulator's costs to measured step times. Pure but for the time it is given. */
import { scheduleTable } from "@mpk/ops";
import { simulatorOf, type Plan, type SimulationConstants } from "@mpk/schedule";

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
export const errorPercent = ({ nanos, predictedNanos }: Predicted): number =>
  (predictedNanos / nanos - 1) * 100;

/**
 * What is fitted, with how far from the start it may well be: the standard deviation of its
 * logarithm. Observations of sums cannot tell all costs apart; what they leave open stays near.
 */
const fitted = {
  streamShare: 0.02, copyLatencyNanos: 0.15, flagNanos: 0.5, handOffNanos: 0.2, prologueNanos: 0.3,
  epilogueNanos: 0.3, stateNanos: 0.2, stateBytesPerNano: 0.3, chunkNanos: 0.5,
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
  const badness = (point: readonly number[]): number =>
    errorsOf(at(point)).reduce((sum, error) => sum + error * error, 0) +
    priorWeight * point.reduce((sum, x) => sum + x * x, 0);
  const rounded = Object.entries(at(minimize(badness, names.length, hasTime)));
  return Object.freeze(Object.fromEntries(rounded.map(([name, value]) =>
    [name, Number(value.toPrecision(4))])) as unknown as SimulationConstants);
}

interface Vertex {
  readonly point: readonly number[];
  readonly value: number;
}

/**
 * The best point near the origin: Nelder and Mead, "A simplex method for function minimization"
 * (1965), with unit steps at first; over when time is, or when the simplex has shrunk to nothing.
 */
export function minimize(
  badness: (point: readonly number[]) => number,
  dimensions: number,
  hasTime: () => boolean,
): readonly number[] {
  const vertex = (point: readonly number[]): Vertex => ({ point, value: badness(point) });
  const origin = Array.from({ length: dimensions }, () => 0);
  const byValue = (a: Vertex, b: Vertex): number => a.value - b.value;
  let simplex = [vertex(origin)];
  for (let i = 0; i < dimensions && hasTime(); i++) {
    simplex.push(vertex(origin.with(i, i % 2 === 0 ? 0.7 : -0.7)));
  }
  const isWide = (): boolean => {
    const [least, most] = [simplex[0]?.value ?? 0, simplex.at(-1)?.value ?? 0];
    return most - least > 1e-4;
  };
  simplex.sort(byValue);
  while (simplex.length > dimensions && hasTime() && isWide()) {
    const [best, second, worst] = [simplex[0], simplex.at(-2), simplex.at(-1)];
    if (best === undefined || second === undefined || worst === undefined) break;
    const others = simplex.slice(0, -1);
    const center = origin.map((_, i) =>
      others.reduce((sum, { point }) => sum + (point[i] ?? 0), 0) / others.length);
    const along = (far: number): Vertex =>
      vertex(center.map((c, i) => c + far * (c - (worst.point[i] ?? 0))));
    const reflected = along(1);
    let next: Vertex | null = null;
    if (reflected.value < best.value) {
      const expanded = along(2);
      next = expanded.value < reflected.value ? expanded : reflected;
    } else if (reflected.value < second.value) {
      next = reflected;
    } else {
      const contracted = along(reflected.value < worst.value ? 0.5 : -0.5);
      if (contracted.value < Math.min(reflected.value, worst.value)) next = contracted;
    }
    simplex = next === null
      ? simplex.map((one, i) => i === 0
        ? one
        : vertex(one.point.map((x, axis) => (x + (best.point[axis] ?? 0)) / 2)))
      : [...others, next];
    simplex.sort(byValue);
  }
  return simplex[0]?.point ?? origin;
}
