/** @file Plans for several ranks: proven, run, saved, and caught when a hand-off is lost. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { allRanks, rankPasses, runPasses, shard } from "@mpk/ir";
import { emit } from "@mpk/cuda";
import { bodyTable, scheduleTable, semanticsTable } from "@mpk/ops";
import { loadPlan, plan, PlanError, savePlan, verify, virtual } from "@mpk/schedule";
import type { Plan } from "@mpk/schedule";
import { computesReference, lawsHold } from "@mpk/schedule/testing";
import { buildDecoder, decoderForms, randomWeights } from "./passes/decoder.ts";

interface Ranked {
  readonly made: Plan;
  readonly weights: ReturnType<typeof randomWeights>;
}

const ranked: fc.Arbitrary<Ranked> = fc
  .record({
    form: decoderForms, ffn: fc.constantFrom(4, 8, 20), ranks: fc.constantFrom(2, 4),
    sms: fc.integer({ min: 1, max: 4 }), seed: fc.nat(),
  })
  .map(({ form, ffn, ranks, sms, seed }) => {
    const sizes = { kvHeads: 4, ffn, vocabulary: form.vocabulary + 4 };
    const program = buildDecoder({ ...form, ...sizes, sample: true });
    const one = runPasses(shard(program, ranks, semanticsTable), semanticsTable, rankPasses);
    const all = allRanks(one, ranks, semanticsTable);
    const made = plan(all.program, scheduleTable, virtual(sms), { ranks: all });
    return { made, weights: randomWeights(program, seed) };
  });

const trial = { prompt: [1, 2, 3], maxNew: 2, promptChunk: 2, precision: "f32" } as const;

describe("plans for several ranks", () => {
  it("hold the laws, and give the interpreter's values under random interleavings", () => {
    fc.assert(
      fc.property(ranked, fc.nat(), ({ made, weights }, seed) => {
        lawsHold(made, scheduleTable);
        computesReference(made, scheduleTable, { ...trial, weights }, seed, 1e-5);
      }),
      { numRuns: 40 },
    );
  });

  it("come back from their text, and are not emitted", () => {
    fc.assert(
      fc.property(ranked, ({ made }) => {
        const back = loadPlan(savePlan(made));
        expect(back.ranks).toBe(made.ranks);
        expect(verify(back, scheduleTable).ok).toBe(true);
        expect(() => emit(made, scheduleTable, bodyTable, { target: "sm_90a" })).toThrow(
          /plan is for \d ranks .* the kernel runs on one GPU; plan the model without shard/,
        );
      }),
      { numRuns: 5 },
    );
  });

  it("count on every trigger of every rank: one lost is a violation", () => {
    fc.assert(
      fc.property(ranked, fc.nat(), ({ made }, at) => {
        const { ranks, machine, tasks, events } = made;
        const sms = machine.sms / ranks;
        const remote: number[] = [];
        made.signals.items.forEach((event, i) => {
          const task = made.signals.start.findLastIndex((start) => start <= i);
          const rank = Math.floor(tasks.sm[task]! / sms);
          if (events.homeRank[event] !== rank) remote.push(i);
        });
        expect(remote.length).toBeGreaterThan(0);
        const lost = remote[at % remote.length]!;
        const signals = {
          start: made.signals.start.map((start) => (start > lost ? start - 1 : start)),
          items: made.signals.items.filter((_, i) => i !== lost),
        };
        expect(verify({ ...made, signals }, scheduleTable).ok).toBe(false);
        // Counting one less, the wait would be over before that rank is.
        const event = made.signals.items[lost]!;
        const threshold = events.threshold.map((x, i) => (i === event ? x - 1 : x));
        const fewer = { ...made, signals, events: { ...events, threshold } };
        expect(verify(fewer, scheduleTable).ok).toBe(false);
      }),
      { numRuns: 30 },
    );
  });

  it("keep ops, values, counters and caches on their ranks", () => {
    const [{ made }] = fc.sample(ranked, { numRuns: 1, seed: 5 }) as [Ranked];
    const told = (broken: Plan): string =>
      verify(broken, scheduleTable).laws.flatMap((law) => law.violations.map((v) => v.message)).join();
    const homeRank = made.events.homeRank.map((rank) => (rank + 1) % made.ranks);
    expect(told({ ...made, events: { ...made.events, homeRank } })).toMatch(/polls event .* from rank/);
    const arena = made.scratchBytes / made.ranks;
    const placements = made.placements.map((place) =>
      place.kind === "scratch" ? { ...place, offsetBytes: (place.offsetBytes + arena) % made.scratchBytes }
        : place);
    expect(told({ ...made, placements })).toMatch(/writes it at byte \d+, outside of its arena/);
    expect(told({ ...made, machine: { ...made.machine, memoryBytes: 1000 } }))
      .toMatch(/device memory of rank 0: .* exceed the 1000 bytes/);
    expect(told({ ...made, ranks: 3 })).toMatch(/are not those of 3 alike ranks|is outside of/);
  });

  it("are refused where an op has no rank", () => {
    const [{ made }] = fc.sample(ranked, { numRuns: 1, seed: 5 }) as [Ranked];
    const ranks = { ranks: 2, rankOf: [0] };
    expect(() => plan(made.program, scheduleTable, virtual(2), { ranks })).toThrow(PlanError);
    const all = { ranks: 2, rankOf: made.program.ops.map(() => 0) };
    expect(() => plan(made.program, scheduleTable, virtual(2), { ranks: all, protocol: "flag" }))
      .toThrow(/several ranks hand over by counters alone/);
  });
});
