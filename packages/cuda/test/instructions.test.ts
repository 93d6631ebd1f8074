/** @file Rolling: unrolling gives every list back, and layers cost no space. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Instruction, roll, unroll, Word } from "../src/index.ts";
import { maxInstructionWords } from "../src/instructions.ts";

/** Few distinct numbers, so that repeats come about by chance; and such as wrap around. */
const number = fc.oneof(fc.nat(2), fc.constantFrom(0x7fffffff, 0x80000000, 0xffffffff), fc.nat());

/** The header of an instruction of this body, and its words after it. */
function instruction(body: number, waits: number, signals: number, rest: readonly number[]) {
  const size = Word.firstWait + rest.length;
  const words = new Uint32Array(size);
  words[Word.size] = size;
  words[Word.body] = body;
  words[Word.waits] = waits;
  words[Word.signals] = signals;
  words.set(rest, Word.firstWait);
  return words;
}

const instructions: fc.Arbitrary<Instruction> = fc
  .tuple(fc.nat(2), fc.nat(1), fc.nat(1), fc.array(number, { maxLength: 4 }))
  .map((parts) => instruction(...parts));

const lists = (maxLength: number): fc.Arbitrary<Instruction[]> =>
  fc.array(instructions, { maxLength });

/** What grows from layer to layer: anything but what says how to read an instruction. */
function grown(block: readonly Instruction[], deltas: readonly number[], layer: number) {
  const fixed: readonly number[] = [Word.size, Word.body, Word.waits, Word.signals];
  return block.map((words) =>
    words.map((word, i) => (fixed.includes(i) ? word : word + layer * (deltas[i] ?? 0))),
  );
}

interface Periodic {
  readonly before: readonly Instruction[];
  readonly block: readonly Instruction[];
  readonly deltas: readonly number[];
  readonly after: readonly Instruction[];
}

const periodic: fc.Arbitrary<Periodic> = fc.record({
  before: lists(5),
  block: fc.array(instructions, { minLength: 1, maxLength: 20 }),
  deltas: fc.array(number, { maxLength: 11 }),
  after: lists(5),
});

function layered({ before, block, deltas, after }: Periodic, layers: number): Instruction[] {
  const middle = Array.from({ length: layers }, (_, layer) => grown(block, deltas, layer));
  return [...before, ...middle.flat(), ...after];
}

describe("rolling", () => {
  test("unrolling gives any list back", () => {
    fc.assert(
      fc.property(lists(40), (list) => {
        expect(unroll(roll(list))).toEqual(list);
      }),
      { numRuns: 500 },
    );
  });

  test("unrolling gives a list of layers back, even where numbers wrap around", () => {
    fc.assert(
      fc.property(periodic, fc.nat(12), (parts, layers) => {
        const list = layered(parts, layers);
        expect(unroll(roll(list))).toEqual(list);
      }),
      { numRuns: 300 },
    );
  });

  test("layers take bounded space, however many there are", () => {
    // Two repeats fit any numbers: a list may begin with two blocks of the longest period.
    const longest = 64 + 5 + 5 + 3 * 20;
    fc.assert(
      fc.property(periodic, fc.integer({ min: 1, max: 300 }), (parts, layers) => {
        const rolled = roll(layered(parts, layers)).reduce((n, run) => n + run.words.length, 0);
        expect(rolled).toBeLessThanOrEqual(longest * (Word.firstWait + 4));
      }),
      { numRuns: 200 },
    );
  });

  test("layers alone take the space of one", () => {
    fc.assert(
      fc.property(periodic, fc.integer({ min: 2, max: 300 }), ({ block, deltas }, layers) => {
        const runs = roll(layered({ before: [], block, deltas, after: [] }, layers));
        expect(runs).toHaveLength(1);
        const words = block.reduce((n, each) => n + each.length, 0);
        expect(runs[0]?.words.length).toBeLessThanOrEqual(words);
      }),
      { numRuns: 200 },
    );
  });

  test("a run repeats at least once and its deltas match its words", () => {
    fc.assert(
      fc.property(periodic, fc.nat(6), (parts, layers) => {
        for (const { words, deltas, repeats } of roll(layered(parts, layers))) {
          expect(repeats).toBeGreaterThan(0);
          expect(deltas).toHaveLength(words.length);
          expect(words.length).toBeGreaterThan(0);
        }
      }),
    );
  });
});

test("three layers that wait for the next event each are one run", () => {
  const layer = (i: number) => [
    instruction(0, 1, 1, [10 + i, 4, 11 + i]),
    instruction(1, 1, 1, [20 + i, 4, 21 + i, 256 * i]),
  ];
  const last = instruction(2, 0, 0, []);
  const [repeated, rest, ...more] = roll([...layer(0), ...layer(1), ...layer(2), last]);
  expect(more).toEqual([]);
  expect(repeated?.repeats).toBe(3);
  expect(Array.from(repeated?.deltas.subarray(-4) ?? [])).toEqual([1, 0, 1, 256]);
  expect(rest).toEqual({ words: last, deltas: new Uint32Array(last.length), repeats: 1 });
});

test("no list, no runs", () => {
  expect(roll([])).toEqual([]);
  expect(unroll([])).toEqual([]);
});

test("what the kernel keeps in shared memory holds a header and dozens of words", () => {
  expect(maxInstructionWords).toBeGreaterThan(Word.firstWait + 64);
});
