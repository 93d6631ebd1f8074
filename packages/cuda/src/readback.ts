/** @file Reads an emitted source text back: tables, constants, and each SM's instructions. Pure. */
import { kernelProtocol } from "@mpk/schedule";

/** A table's numbers, out of its initializer. */
export function tableOf(source: string, name: string): Float64Array {
  const [, bits, inside] = new RegExp(
    `^MPK_CONSTANT u(32|64) ${name}\\[\\] = \\{([^}]*)\\};$`, "m",
  ).exec(source) ?? [];
  if (inside === undefined) throw new Error(`the source has no table ${name}`);
  // Byte offsets of 64 bits stay far below what a double holds exactly.
  const limit = bits === "32" ? 2 ** 32 : Number.MAX_SAFE_INTEGER;
  const items = inside.split(",").map((text) => text.trim());
  return Float64Array.from(items, (text) => {
    const [, digits] = /^(\d+)u$/.exec(text) ?? [];
    if (digits === undefined || Number(digits) >= limit) throw new Error(`${name}: ${text}`);
    return Number(digits);
  });
}

/** A constant's value. */
export function constantOf(source: string, name: string): number {
  const [, digits] = new RegExp(`^constexpr u32 ${name} = (\\d+)u;$`, "m").exec(source) ?? [];
  if (digits === undefined) throw new Error(`the source has no constant ${name}`);
  return Number(digits);
}

/** Below it are the bits of an event; it says that steps of one token leave the event alone. */
const manyOnlyBit = 2 ** kernelProtocol.manyOnlyBit;
const isManyOnly = (word: number): boolean => word % 2 ** 31 >= manyOnlyBit;

export interface EmittedTask {
  readonly body: number;
  readonly op: number;
  readonly tileLo: number;
  readonly tileHi: number;
  readonly waits: readonly {
    readonly event: number;
    readonly threshold: number;
    readonly crossStep: boolean;
    /** Not in steps of one token. */
    readonly manyOnly: boolean;
  }[];
  readonly signals: readonly number[];
  /** Those that steps of one token leave out. */
  readonly manyOnlySignals: readonly number[];
  /** One address word per input, output and state. */
  readonly operands: readonly number[];
}

/** By number, the linears that leave text for waits or signals out of steps of one token. */
export function spareLinears(source: string): ReadonlyMap<number, { waits: boolean; signals: boolean }> {
  const cases = source.matchAll(/\bcase (\d+):\s+return run_linear_alone<\w+, (true|false), (true|false)>/g);
  return new Map(Array.from(cases, ([, body, waits, signals]) =>
    [Number(body), { waits: waits === "true", signals: signals === "true" }]));
}

/**
 * One SM's instructions, walked as the kernel's Cursor does. Throws where the words are no list, or
 * one of more than `mostTasks`.
 */
export function* tasksOf(
  source: string,
  mostTasks = 2 ** 20,
): Generator<readonly EmittedTask[]> {
  const [starts, runs] = [tableOf(source, "kRunStart"), tableOf(source, "kRuns")];
  const [words, deltas] = [tableOf(source, "kWords"), tableOf(source, "kDeltas")];
  const number = (name: string): number => constantOf(source, `kWord${name}`);
  const at = {
    size: number("Size"), body: number("Body"), op: number("Op"), lo: number("TileLo"),
    hi: number("TileHi"), waits: number("Waits"), signals: number("Signals"),
    first: number("FirstWait"),
  };
  const decode = (word: (i: number) => number): EmittedTask => {
    const [waits, signals] = [word(at.waits), word(at.signals)];
    const range = (from: number, to: number): number[] =>
      Array.from({ length: to - from }, (_, i) => word(from + i));
    const firstSignal = at.first + 2 * waits;
    return {
      body: word(at.body), op: word(at.op), tileLo: word(at.lo), tileHi: word(at.hi),
      waits: Array.from({ length: waits }, (_, i) => {
        const event = word(at.first + 2 * i);
        return {
          event: event % manyOnlyBit, crossStep: event >= 2 ** 31, manyOnly: isManyOnly(event),
          threshold: word(at.first + 2 * i + 1),
        };
      }),
      signals: range(firstSignal, firstSignal + signals).map((word) => word % manyOnlyBit),
      manyOnlySignals: range(firstSignal, firstSignal + signals)
        .filter(isManyOnly)
        .map((word) => word % manyOnlyBit),
      operands: range(firstSignal + signals, word(at.size)),
    };
  };
  for (let sm = 0; sm + 1 < starts.length; sm++) {
    const list: EmittedTask[] = [];
    for (let run = starts[sm] ?? 0; run < (starts[sm + 1] ?? 0); run++) {
      const [first, count, repeats] = runs.subarray(3 * run, 3 * run + 3);
      if (first === undefined || count === undefined || repeats === undefined) {
        throw new Error(`SM ${sm} has run ${run} of ${runs.length / 3}`);
      }
      for (let repeat = 0; repeat < repeats; repeat++) {
        const word = (i: number): number =>
          ((words[first + i] ?? NaN) + repeat * (deltas[first + i] ?? NaN)) % 2 ** 32;
        for (let from = 0; from < count; from += word(from + at.size)) {
          const size = word(from + at.size);
          const lists = at.first + 2 * word(from + at.waits) + word(from + at.signals);
          // Not a number, too, where a run goes beyond the table.
          if (!(size >= lists && from + size <= count && list.length < mostTasks)) {
            throw new Error(`the instructions of SM ${sm} do not end where they should`);
          }
          list.push(decode((i) => word(from + i)));
        }
      }
    }
    yield list;
  }
}
