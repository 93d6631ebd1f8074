/** @file From the SMs' own clocks to nanoseconds that all SMs share. Pure. */
import { type ProfileLayout, profileWords, StepMark } from "@mpk/cuda/manifest";
import type { Interval } from "./profile.ts";

/** One SM's clock at both ends of a step that it ran: clocks without end, and nanoseconds. */
export interface Pair {
  readonly clocks: readonly [number, number];
  readonly nanos: readonly [number, number];
}

/** Clocks from one low word to a later one. */
export const clocksSince = (from: number, to: number): number => (to - from) >>> 0;

/** Nanoseconds at a clock: the line through both ends of the step. */
export function nanosAt({ clocks: [c0, c1], nanos: [n0, n1] }: Pair, clocks: number): number {
  return n0 + (clocks - c0) * ((n1 - n0) / Math.max(1, c1 - c0));
}

/** The words of a profile by where they are. */
export class ProfileWords {
  readonly #layout: ProfileLayout;
  readonly #words: Uint32Array;

  /** @param words [steps, SMs, records, words] */
  constructor(layout: ProfileLayout, words: Uint32Array) {
    this.#layout = layout;
    this.#words = words;
  }

  at(step: number, sm: number, record: number, word: number): number {
    const { records, tasks } = this.#layout;
    return this.#words[((step * tasks.length + sm) * records + record) * profileWords + word] ?? 0;
  }
  nanos(step: number, sm: number, word: number): bigint {
    return BigInt(this.at(step, sm, 0, word)) + (BigInt(this.at(step, sm, 0, word + 1)) << 32n);
  }
  /** A step ran if each SM's pair of clocks at its end is there. */
  ran(step: number, sms: readonly number[]): boolean {
    return sms.every((sm) => this.nanos(step, sm, StepMark.doneNanos) !== 0n);
  }
  /** When the first SM arrived at one of the steps given. */
  earliest(steps: readonly number[], sms: readonly number[]): bigint {
    const all = steps.flatMap((step) =>
      sms.map((sm) => this.nanos(step, sm, StepMark.arrivedNanos)));
    return all.reduce((least, at) => (at < least ? at : least), all[0] ?? 0n);
  }
  /** An SM's pairs of the steps given, which follow each other within the 2 s of a low word. */
  pairs(sm: number, steps: readonly number[], zero: bigint): readonly Pair[] {
    let clocks = 0;
    let last: number | null = null;
    return steps.map((step) => {
      const [from, to] = [this.at(step, sm, 0, StepMark.arrived), this.at(step, sm, 0, StepMark.done)];
      clocks += last === null ? 0 : clocksSince(last, from);
      const begin = clocks;
      clocks += clocksSince(from, to);
      last = to;
      const nanos = (word: number) => Number(this.nanos(step, sm, word) - zero);
      return {
        clocks: [begin, clocks],
        nanos: [nanos(StepMark.arrivedNanos), nanos(StepMark.doneNanos)],
      };
    });
  }
}

/** An SM's log as times: each entry by the step that it is in, or nearest to. */
export function ringFullOf(log: Uint32Array, pairs: readonly Pair[], arrived: number): readonly Interval[] {
  const found: Interval[] = [];
  let clocks = 0;
  let last: number | null = null;
  for (let i = 0; i < log.length; i += 2) {
    const [since = 0, length = 0] = log.subarray(i, i + 2);
    if (length === 0) break;
    // The first may lie before the first step.
    clocks += last === null ? (since - arrived) | 0 : clocksSince(last, since);
    last = since;
    const pair = pairs.findLast(({ clocks: [begin] }) => begin <= clocks) ?? pairs[0];
    if (pair === undefined) break;
    const [from, to] = [clocks, clocks + length].map((at) => Math.round(nanosAt(pair, at)));
    if (from !== undefined && to !== undefined) found.push({ from, to });
  }
  return found;
}
