/** @file A user's schedule, tested in five lines; and what a bad one gets to read. */
import { computesReference, lawsHold, programs, toyTable, toyWeights } from "@mpk/schedule/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hasty, mirrored } from "./schedule.ts";

describe("the mirrored schedule", () => {
  it("holds the laws", () => {
    fc.assert(fc.property(programs(), (program) => lawsHold(mirrored(program), toyTable)));
  });

  it("computes what the program means, in any interleaving", () => {
    fc.assert(
      fc.property(programs(), fc.integer(), (program, seed) => {
        const trial = { weights: toyWeights(program), prompt: [3, 1, 4], maxNew: 2 };
        computesReference(mirrored(program), toyTable, trial, seed);
      }),
    );
  });
});

describe("the hasty schedule", () => {
  it("is shown where it goes wrong", () => {
    const [program] = fc.sample(programs(), { numRuns: 1, seed: 1 });
    expect(() => program && lawsHold(hasty(program), toyTable)).toThrow(
      /races: the step descriptor is read too early.*\nSM \d: task/,
    );
  });
});
