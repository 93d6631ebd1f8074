/** @file Fuzzing of parsers: hostile JSON by structure, hostile bytes, and what may come of them. */
import fc, { type Arbitrary } from "fast-check";

const long = "a".repeat(2000);
const nested = (depth: number): unknown => {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = i % 2 === 0 ? [value] : { a: value };
  return value;
};

/** Values that parsers stumble over. */
const hostile: Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null, true, false, 0, -1, 1, 2, 7, 1.5, -0, 255, 65_536, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 40,
    2 ** 53 - 1, 2 ** 53, 1e308, -1e308, "", " ", "__proto__", "constructor", "toString", "\0",
    "../../etc/passwd", "a/b", "\u2028", "\ud800", "*/", "\\", "\"", "\n", "</script>", "%d", long,
    [], {}, [[]], [null], [0, -1], Array(300).fill(0), Array(300).fill("x"), { a: { b: {} } },
  ),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.string({ unit: "binary", maxLength: 12 }),
  fc.nat(80).map(nested),
);

interface Edit {
  /** Which of the document's nodes, modulo their number. */
  readonly at: number;
  readonly kind: "replace" | "remove" | "repeat" | "rename" | "swap";
  readonly value: unknown;
  readonly key: string;
}

const edit: Arbitrary<Edit> = fc.record({
  at: fc.nat(1 << 20),
  kind: fc.constantFrom("replace", "replace", "replace", "remove", "repeat", "rename", "swap"),
  value: hostile,
  key: fc.constantFrom("__proto__", "constructor", "", "0", "length", "a", long),
});

type Holder = Record<string, unknown> | unknown[];
const isHolder = (value: unknown): value is Holder => typeof value === "object" && value !== null;

/** Every (holder, key) of a document. */
function places(root: Holder): readonly (readonly [Holder, string])[] {
  const out: (readonly [Holder, string])[] = [];
  const open: Holder[] = [root];
  for (let holder = open.pop(); holder !== undefined; holder = open.pop()) {
    for (const key of Object.keys(holder)) {
      out.push([holder, key]);
      const inner: unknown = Reflect.get(holder, key);
      if (isHolder(inner)) open.push(inner);
    }
  }
  return out;
}

const put = (holder: Holder, key: string, value: unknown): void =>
  void Object.defineProperty(holder, key, {
    value, enumerable: true, configurable: true, writable: true,
  });

function apply(document: unknown, edits: readonly Edit[]): unknown {
  const root = { document: structuredClone(document) };
  for (const { at, kind, value, key } of edits) {
    const all = places(root);
    const [holder, name = ""] = all[at % all.length] ?? [root, "document"];
    const old: unknown = Reflect.get(holder, name);
    const [other, otherName = ""] = all[(at * 31 + 7) % all.length] ?? [root, "document"];
    if (kind === "replace") put(holder, name, structuredClone(value));
    else if (kind === "remove") Reflect.deleteProperty(holder, name);
    else if (kind === "rename" && !Array.isArray(holder)) put(holder, key, old);
    else if (kind === "repeat" && Array.isArray(holder)) holder.push(old, old);
    // A copy: the document must stay a tree.
    else if (kind === "swap") put(other, otherName, structuredClone(old));
  }
  return root.document;
}

/** JSON text near that of `seeds`: one in eight by its structure, the others by their tokens. */
export function jsonMutants(seeds: readonly unknown[]): Arbitrary<string> {
  const structured = fc
    .tuple(fc.constantFrom(...seeds), fc.array(edit, { maxLength: 4 }))
    .map(([seed, edits]) => JSON.stringify(apply(seed, edits)) ?? "");
  const byTokens = textMutants(seeds.map((seed) => JSON.stringify(seed)));
  return fc.oneof({ weight: 1, arbitrary: structured }, { weight: 7, arbitrary: byTokens });
}

const tokens = [
  "0", "-1", "1", "1.5", "1e308", "2147483648", "9007199254740992", "4294967295", "null", "true",
  "{}", "[]", "[[]]", "{", "}", "[", "]", ",", ":", '""', '"a"', '"__proto__"', '"\\ud800"',
  '"\\u0000"', '"../x"', '"a\\"b"', "[1,2]", '{"a":1}', "[".repeat(70), "0,".repeat(50), "é", "\uffff",
] as const;

/** Small, quick and good enough: xorshift. */
function randomFrom(seed: number): (below: number) => number {
  let state = (seed ^ 0x9e3779b9) | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return below === 0 ? 0 : (state >>> 0) % below;
  };
}

const boundary = /[\s,:{}[\]()"]/;

function mutateText(text: string, random: (below: number) => number): string {
  let out = text;
  for (let edits = random(5); edits > 0; edits--) {
    let lo = random(out.length + 1);
    let hi = lo;
    if (random(3) > 0) {
      while (lo > 0 && lo > hi - 40 && !boundary.test(out[lo - 1] ?? "")) lo--;
      while (hi < out.length && hi < lo + 80 && !boundary.test(out[hi] ?? "")) hi++;
    } else hi = Math.min(out.length, lo + 1 + random(12));
    const piece = out.slice(lo, hi);
    const token = tokens[random(tokens.length)] ?? "";
    const instead = [token, piece + token, "", piece + piece, String.fromCharCode(random(300))];
    out = out.slice(0, lo) + (instead[random(instead.length)] ?? "") + out.slice(hi);
  }
  return out;
}

/** Text near that of `seeds`, token by token; quick, for a million and more. */
export function textMutants(seeds: readonly string[]): Arbitrary<string> {
  return fc.integer().map((seed) => {
    const random = randomFrom(seed);
    return mutateText(seeds[random(seeds.length)] ?? "", random);
  });
}

const byteEdit = fc.tuple(
  fc.constantFrom("set", "set", "insert", "cut", "repeat"), fc.nat(1 << 20), fc.nat(255), fc.nat(40),
);

/** The bytes with up to eight edits: flipped, inserted, cut and repeated. */
export function damaged(bytes: Arbitrary<Uint8Array>): Arbitrary<Uint8Array> {
  return fc.tuple(bytes, fc.array(byteEdit, { maxLength: 8 })).map(([whole, edits]) => {
    let out = Array.from(whole);
    for (const [kind, place, byte, length] of edits) {
      const at = place % (out.length + 1);
      if (kind === "set") out[at] = byte;
      else if (kind === "insert") out.splice(at, 0, byte);
      else if (kind === "cut") out.splice(at, length);
      else out = [...out.slice(0, at), ...out.slice(at, at + length), ...out.slice(at)];
    }
    return Uint8Array.from(out);
  });
}

/** Text as it is, and as damaged bytes. */
export function asBytes(text: Arbitrary<string>): Arbitrary<Uint8Array> {
  const bytes = text.map((one) => new TextEncoder().encode(one));
  return fc.oneof({ weight: 15, arbitrary: bytes }, { weight: 1, arbitrary: damaged(bytes) });
}

export interface FuzzOptions {
  readonly inputs: number;
  /** Stops earlier, which is no failure. */
  readonly seconds: number;
}

/** Seconds for each parser in quick tests: MPK_FUZZ_SECONDS, 10 in CI; about one otherwise. */
export function quickSeconds(): number {
  const asked = Number(process.env["MPK_FUZZ_SECONDS"] ?? NaN);
  return asked > 0 && asked < 3600 ? asked : 1.2;
}

/** No single input may take longer, on however slow a machine. */
const mostSecondsEach = 20;

export interface Fuzzed {
  readonly inputs: number;
  readonly refused: number;
  readonly slowestMillis: number;
}

/**
 * Feeds `parse` with inputs until there were enough or the time is spent. It may return, or throw
 * what `isOurs` accepts.
 */
export function fuzz<T>(
  inputs: Arbitrary<T>,
  parse: (input: T) => unknown,
  isOurs: (error: unknown) => boolean,
  options: FuzzOptions,
): Fuzzed {
  let count = 0;
  let refused = 0;
  let slowestMillis = 0;
  const property = fc.property(inputs, (input) => {
    const start = performance.now();
    count++;
    try {
      parse(input);
    } catch (error) {
      if (!isOurs(error)) throw error;
      refused++;
    }
    slowestMillis = Math.max(slowestMillis, performance.now() - start);
    if (slowestMillis > 1000 * mostSecondsEach) throw new Error(`took ${slowestMillis} ms`);
  });
  fc.assert(property, {
    numRuns: options.inputs,
    interruptAfterTimeLimit: 1000 * options.seconds,
    markInterruptAsFailure: false,
    maxSkipsPerRun: 0,
  });
  return { inputs: count, refused, slowestMillis };
}

/** A line for people. */
export const fuzzedText = (name: string, { inputs, refused, slowestMillis }: Fuzzed): string =>
  `${name}: ${inputs} inputs, ${refused} refused, the slowest took ${slowestMillis.toFixed(0)} ms`;
