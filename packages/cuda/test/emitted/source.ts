/** @file Reads an emitted source text back: tables, bodies, and each SM's instructions. */

/** A table's numbers, out of its initializer. */
export function tableOf(source: string, name: string): Uint32Array {
  const [, inside] = new RegExp(`^MPK_CONSTANT u\\d+ ${name}\\[\\] = \\{([^}]*)\\};$`, "m")
    .exec(source) ?? [];
  if (inside === undefined) throw new Error(`the source has no table ${name}`);
  const items = inside.split(",").map((text) => text.trim());
  return Uint32Array.from(items, (text) => {
    const [, digits] = /^(\d+)u$/.exec(text) ?? [];
    if (digits === undefined || Number(digits) >= 2 ** 32) throw new Error(`${name}: ${text}`);
    return Number(digits);
  });
}

/** A constant's value. */
export function constantOf(source: string, name: string): number {
  const [, digits] = new RegExp(`^constexpr u32 ${name} = (\\d+)u;$`, "m").exec(source) ?? [];
  if (digits === undefined) throw new Error(`the source has no constant ${name}`);
  return Number(digits);
}

export interface EmittedBody {
  readonly struct: string;
  /** The device function without its `run_`. */
  readonly run: string;
  /** The op it was made for first. */
  readonly kind: string;
  readonly text: string;
}

/** Bodies by number, as the kernel's switch calls them. */
export function bodiesOf(source: string): readonly EmittedBody[] {
  const cases = source.matchAll(/^ {4}case (\d+):\n {6}run_(\w+)<(\w+)>\(c, in\);\n {6}break;$/gm);
  return Array.from(cases, ([, number, run = "", struct = ""], i) => {
    if (Number(number) !== i) throw new Error(`case ${number} is number ${i} of the switch`);
    const start = source.indexOf(`\nstruct ${struct} {`);
    const [, kind = ""] = /\/\/ (\w+), first at [\w. -]+$/.exec(source.slice(0, start)) ?? [];
    return { struct, run, kind, text: source.slice(start + 1, source.indexOf("\n};", start) + 3) };
  });
}

export interface EmittedTask {
  readonly body: number;
  readonly op: number;
  readonly tileLo: number;
  readonly tileHi: number;
  readonly waits: readonly {
    readonly event: number;
    readonly threshold: number;
    readonly crossStep: boolean;
  }[];
  readonly signals: readonly number[];
  /** One address word per input, output and state. */
  readonly operands: readonly number[];
}

/** One SM's instructions, walked as the kernel's Cursor does. */
export function* tasksOf(source: string): Generator<readonly EmittedTask[]> {
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
          event: event % 2 ** 31, crossStep: event >= 2 ** 31,
          threshold: word(at.first + 2 * i + 1),
        };
      }),
      signals: range(firstSignal, firstSignal + signals),
      operands: range(firstSignal + signals, word(at.size)),
    };
  };
  for (let sm = 0; sm + 1 < starts.length; sm++) {
    const list: EmittedTask[] = [];
    for (let run = starts[sm] ?? 0; run < (starts[sm + 1] ?? 0); run++) {
      const [first = 0, count = 0, repeats = 0] = runs.subarray(3 * run, 3 * run + 3);
      for (let repeat = 0; repeat < repeats; repeat++) {
        const word = (i: number): number =>
          ((words[first + i] ?? NaN) + repeat * (deltas[first + i] ?? NaN)) % 2 ** 32;
        for (let from = 0; from < count; from += word(from + at.size)) {
          list.push(decode((i) => word(from + i)));
        }
      }
    }
    yield list;
  }
}
