/** @file Encodes each SM's task order as words, and rolls repeated layers up. Pure. */

/** Header words of an instruction; waits (event, threshold), signals and operands follow. */
export const Word = {
  size: 0,
  body: 1,
  op: 2,
  tileLo: 3,
  tileHi: 4,
  waits: 5,
  signals: 6,
  firstWait: 7,
} as const;

/** Shared-memory room for one instruction. */
export const maxInstructionWords = 96;

/** One instruction of an SM's list, as the words that the kernel reads. */
export type Instruction = Uint32Array;

/** `repeats` times these words, each growing by its delta from one repeat to the next. */
export interface Run {
  readonly words: Uint32Array;
  readonly deltas: Uint32Array;
  readonly repeats: number;
}

/** Longest layer, in instructions, that rolling looks for. */
const maxPeriod = 64;

function concatenate(list: readonly Instruction[], from: number, to: number): Uint32Array {
  const parts = list.slice(from, to);
  const all = new Uint32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Whether two instructions may be two repeats of one: alike but for numbers that may grow. */
function alike(a: Instruction | undefined, b: Instruction | undefined): boolean {
  if (a === undefined || b === undefined || a.length !== b.length) return false;
  return (
    a[Word.body] === b[Word.body] &&
    a[Word.waits] === b[Word.waits] &&
    a[Word.signals] === b[Word.signals]
  );
}

/** How often the `period` instructions at `from` repeat with constant deltas (at least once). */
function countRepeats(list: readonly Instruction[], from: number, period: number): number {
  let repeats = 1;
  for (let at = from + period; at + period <= list.length; at += period, repeats++) {
    for (let i = 0; i < period; i++) {
      const now = list[at + i];
      const before = list[at + i - period];
      const first = list[from + i];
      const second = list[from + i + period];
      if (!alike(now, before) || !now || !before || !first || !second) return repeats;
      for (let w = 0; w < now.length; w++) {
        const delta = ((now[w] ?? 0) - (before[w] ?? 0)) >>> 0;
        if (delta !== ((second[w] ?? 0) - (first[w] ?? 0)) >>> 0) return repeats;
      }
    }
  }
  return repeats;
}

/** Rolls a list up; unrolling the runs gives the list back. Greedy, deterministic. */
export function roll(list: readonly Instruction[]): Run[] {
  const runs: Run[] = [];
  let from = 0;
  let plain = 0; // instructions before `from` that are in no run yet
  const flush = (): void => {
    if (plain === 0) return;
    const words = concatenate(list, from - plain, from);
    runs.push({ words, deltas: new Uint32Array(words.length), repeats: 1 });
    plain = 0;
  };
  while (from < list.length) {
    let best = { period: 1, repeats: 1 };
    for (let period = 1; period <= maxPeriod && from + 2 * period <= list.length; period++) {
      if (!alike(list[from], list[from + period])) continue;
      const repeats = countRepeats(list, from, period);
      if (repeats > 1 && repeats * period > best.repeats * best.period) best = { period, repeats };
    }
    if (best.repeats === 1) {
      plain++;
      from++;
      continue;
    }
    flush();
    const words = concatenate(list, from, from + best.period);
    const second = concatenate(list, from + best.period, from + 2 * best.period);
    const deltas = words.map((word, i) => ((second[i] ?? 0) - word) >>> 0);
    runs.push({ words, deltas, repeats: best.repeats });
    from += best.period * best.repeats;
  }
  flush();
  return runs;
}

/** The instructions of a rolled list, one after another. */
export function unroll(runs: readonly Run[]): Instruction[] {
  const list: Instruction[] = [];
  for (const run of runs) {
    for (let repeat = 0; repeat < run.repeats; repeat++) {
      const words = run.words.map((word, i) => (word + repeat * (run.deltas[i] ?? 0)) >>> 0);
      for (let at = 0; at < words.length; at += words[at + Word.size] ?? words.length) {
        list.push(words.slice(at, at + (words[at + Word.size] ?? words.length)));
      }
    }
  }
  return list;
}
