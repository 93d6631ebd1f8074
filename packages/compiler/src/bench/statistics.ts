/** @file Step times from stamps, and what is told of them. Pure. */

/** Milliseconds. */
export interface Spread {
  readonly p50: number;
  readonly p99: number;
  readonly worst: number;
  readonly fastest: number;
  readonly count: number;
}

/**
 * The smallest value that at least `share` of the numbers do not exceed (nearest rank).
 * @throws RangeError for no numbers.
 */
export function quantile(sorted: readonly number[], share: number): number {
  const rank = Math.min(sorted.length, Math.max(1, Math.ceil(sorted.length * share)));
  const found = sorted[rank - 1];
  if (found === undefined) throw new RangeError("a quantile of no numbers");
  return found;
}

/** Quantiles of times, in the unit in which they come. @throws RangeError for no numbers. */
export function spreadOfTimes(times: readonly number[]): Spread {
  const sorted = times.toSorted((a, b) => a - b);
  return {
    p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), worst: quantile(sorted, 1),
    fastest: quantile(sorted, 0), count: sorted.length,
  };
}

/**
 * Medians by position over launches, each a list of step times: what a step costs there. Attention takes
 * in one key more with each, so a launch's times grow without any being late.
 * @throws RangeError for no launches, or such of different lengths.
 */
export function medianByPosition(launches: readonly (readonly number[])[]): readonly number[] {
  const length = launches[0]?.length ?? 0;
  if (launches.some((times) => times.length !== length)) {
    throw new RangeError("launches of different lengths");
  }
  return Array.from({ length }, (_, at) =>
    quantile(launches.map((times) => times[at] ?? 0).toSorted((a, b) => a - b), 0.5));
}

/** Each step over the median of its position: what is late, whatever the position costs. */
export function lateness(launches: readonly (readonly number[])[]): Spread {
  const medians = medianByPosition(launches);
  return spreadOfTimes(launches.flatMap((times) => times.map((ms, at) => ms / (medians[at] ?? ms))));
}

/** One launch: its clock stamps at the end of each step, and its own length by events. */
export interface LaunchTimes {
  readonly stampNanos: readonly bigint[];
  readonly millis: number;
  /** Steps that read the prompt; the last of them gives the first token. */
  readonly promptSteps: number;
}

export interface StepMillis {
  /** Steps of one token each. */
  readonly tokens: readonly number[];
  /** Steps of the prompt, but the first, which starts the launch. */
  readonly prompt: readonly number[];
  /** From the start of the launch to its first token. */
  readonly firstToken: number;
  /** The whole launch but what came before its first token, over the other tokens. */
  readonly byEvents: number | null;
}

/** Lengths of steps from the stamps at their ends. */
export function stepMillis({ stampNanos, millis, promptSteps }: LaunchTimes): StepMillis {
  const between = (at: number) => Number((stampNanos[at] ?? 0n) - (stampNanos[at - 1] ?? 0n)) / 1e6;
  const steps = Array.from({ length: Math.max(0, stampNanos.length - 1) }, (_, i) => between(i + 1));
  const prompt = steps.slice(0, promptSteps - 1);
  const tokens = steps.slice(promptSteps - 1);
  const firstToken = millis - tokens.reduce((a, b) => a + b, 0);
  // Cross-check without the stamps of one-token steps: the prompt's first step counts as another.
  const typical = prompt.length === 0 ? null : spreadOfTimes(prompt).p50;
  const byEvents = typical === null || tokens.length === 0
    ? null
    : (millis - typical * promptSteps) / tokens.length;
  return { tokens, prompt, firstToken, byEvents };
}
