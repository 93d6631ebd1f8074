/** @file Split over ranks, a model gives what it gives on one. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  allRanks, createInterpreter, parseProgram, printProgram, rankPasses, runPasses, shard, ShapeError,
} from "@mpk/ir";
import type { Program } from "@mpk/ir";
import { semanticsTable } from "../../src/semantics.ts";
import { buildDecoder, decoderForms, randomWeights } from "./decoder.ts";

/** Decoders whose heads and widths four ranks can share; hidden size and vocabulary are anything. */
const shardable = fc
  .record({ form: decoderForms, kvHeads: fc.constantFrom(4, 8), ffn: fc.constantFrom(4, 8, 20) })
  .map(({ form, kvHeads, ffn }) => {
    const vocabulary = form.vocabulary + 4;
    return { program: buildDecoder({ ...form, kvHeads, ffn, vocabulary }) };
  });

/** Logits of three steps, the first of two tokens. */
function logits(program: Program, weights: ReturnType<typeof randomWeights>): readonly number[] {
  const interpreter = createInterpreter(program, semanticsTable, { weights, precision: "f32" });
  return [[1, 2], [3], [4]].flatMap((ids) => [...interpreter.step({ ids }).outputs["logits"]!.data]);
}

describe("shard", () => {
  it("gives the same logits on all ranks together as on one, before and after the passes", () => {
    fc.assert(
      fc.property(shardable, fc.constantFrom(2, 4), fc.nat(), ({ program }, ranks, seed) => {
        const weights = randomWeights(program, seed);
        const expected = logits(program, weights);
        const one = shard(program, ranks, semanticsTable);
        expect(one.ops.some(({ kind }) => kind === "allReduce")).toBe(true);
        for (const rank of [one, runPasses(one, semanticsTable, rankPasses)]) {
          const all = allRanks(rank, ranks, semanticsTable).program;
          expect(parseProgram(printProgram(all))).toEqual(all);
          const got = logits(all, weights);
          const error = Math.hypot(...got.map((x, i) => x - expected[i]!));
          expect(error).toBeLessThanOrEqual(1e-5 * Math.hypot(...expected));
        }
      }),
      { numRuns: 40 },
    );
  });

  it("splits heads and widths, and takes from each weight its own slice", () => {
    const [{ program }] = fc.sample(shardable, { numRuns: 1, seed: 3 }) as [{ program: Program }];
    const one = shard(program, 2, semanticsTable);
    const heads = (of: Program) => of.ops.find(({ kind }) => kind === "attention")!.attrs["heads"];
    expect(heads(one)).toBe(Number(heads(program)) / 2);
    const bytes = (of: Program): number =>
      of.weights.flatMap(({ parts }) => parts).filter(({ slice }) => slice !== undefined).length;
    expect(bytes(one)).toBeGreaterThan(5);
    const { program: all, rankOf } = allRanks(one, 2, semanticsTable);
    const slices = all.weights.flatMap(({ parts }) => parts.flatMap(({ slice }) => slice ?? []));
    expect(new Set(slices.map(({ index }) => index))).toEqual(new Set([0, 1]));
    // The head and the choice are rank 0's alone.
    const count = (rank: number): number => rankOf.filter((own) => own === rank).length;
    expect(count(0)).toBeGreaterThan(count(1));
    expect(count(1)).toBeGreaterThan(5);
    expect(count(0) + count(1)).toBe(all.ops.length);
  });

  it("refuses what cannot be split, naming the fix", () => {
    const [{ program }] = fc.sample(shardable, { numRuns: 1, seed: 3 }) as [{ program: Program }];
    expect(() => shard(program, 7, semanticsTable)).toThrow(ShapeError);
    expect(() => shard(program, 7, semanticsTable)).toThrow(/split over 7 ranks; take a number that/);
    expect(() => shard(program, 0, semanticsTable)).toThrow(/at least 1 rank, got 0/);
    expect(shard(program, 1, semanticsTable)).toBe(program);
  });
});
