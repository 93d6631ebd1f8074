/**
 * @file The ring, launches in a row, the flags' protocol and the watchdog, searched exhaustively; every
 * mistake shows.
 */
import { afterAll, describe, expect, it } from "vitest";
import {
  abortDefects, abortInput, abortModel, compileSpin, endlessDepth, flagDefects, flagInput, flagModel, lapDefects, lapInput, lapModel,
  launchDefects, launchInput, launchModel, ringDefects, ringInput, ringModel,
} from "../src/testing/index.ts";
import type { AbortDefect, LapCase, LaunchCase, RingCase } from "../src/testing/index.ts";

describe("the weight ring", () => {
  const model = compileSpin(ringModel);
  afterAll(() => model.dispose());
  const small: RingCase = {
    stages: 4, warps: 2, inFlight: 3, taskChunks: 3, chunks: 12, defect: "none",
  };
  const errorsOf = (cases: readonly Partial<RingCase>[]): readonly (string | null)[] =>
    model.search(cases.map((some) => ringInput({ ...small, ...some }))).map(({ error }) => error);

  it("delivers every chunk once, in order, and ends, for shapes that the verifier accepts", () => {
    const shapes = [[2, 1, 1], [3, 1, 2], [2, 2, 1], [4, 2, 1], [4, 2, 3], [4, 4, 3]] as const;
    const cases = shapes.flatMap(([stages, warps, inFlight]) =>
      [1, 3, 99].map((taskChunks) => ({ stages, warps, inFlight, taskChunks, chunks: 2 * stages + 2 })),
    );
    expect(errorsOf(cases)).toEqual(cases.map(() => null));
  });

  it.each(ringDefects.slice(1))("fails if %s", (defect) => {
    expect(errorsOf([{ defect }])).not.toEqual([null]);
  });

  it("aliases parity where stages are no multiple of the warps", () => {
    expect(errorsOf([{ stages: 3, inFlight: 2, taskChunks: 99 }])[0]).toMatch(/assertion/);
  });

  it("hangs where more chunks may be in flight than there are stages", () => {
    expect(errorsOf([{ inFlight: 5, taskChunks: 99 }])[0]).toMatch(/invalid end state/);
  });
});

describe("the weight ring in launches of any length", () => {
  const model = compileSpin(lapModel, endlessDepth);
  afterAll(() => model.dispose());
  const small: LapCase = {
    stages: 4, warps: 2, inFlight: 3, stepChunks: 3, lap: 8, launches: 2, defect: "none",
  };
  const errorsOf = (cases: readonly Partial<LapCase>[]): readonly (string | null)[] =>
    model.search(cases.map((some) => lapInput({ ...small, ...some }))).map(({ error }) => error);

  it("delivers every chunk although numbers start over, launch after launch", () => {
    const cases = [
      { stages: 2, warps: 1, inFlight: 1, stepChunks: 3, lap: 4 },
      { stages: 2, warps: 2, inFlight: 1, stepChunks: 5, lap: 4 },
      { stages: 3, warps: 1, inFlight: 2, stepChunks: 4, lap: 12 },
      {}, { inFlight: 2, stepChunks: 5 }, { inFlight: 2, stepChunks: 1, lap: 16, launches: 3 },
    ];
    expect(errorsOf(cases)).toEqual(cases.map(() => null));
  });

  it.each(lapDefects.slice(1))("fails if %s", (defect) => {
    expect(errorsOf([{ defect }])).not.toEqual([null]);
  });

  it.each([4, 12, 6])("fails if numbers start over at %i, no multiple of two rounds of 4 stages", (lap) => {
    expect(errorsOf([{ lap }])).not.toEqual([null]);
  });
});

describe("launches in a row", () => {
  const model = compileSpin(launchModel);
  afterAll(() => model.dispose());
  const small: LaunchCase = { sms: 2, steps: 6, launches: 2, wordBits: 4, defect: "none" };
  const errorsOf = (cases: readonly Partial<LaunchCase>[]): readonly (string | null)[] =>
    model.search(cases.map((some) => launchInput({ ...small, ...some }))).map(({ error }) => error);

  it("find counters that wrap and are cleared, and a host that may stop them at any time", () => {
    // Counts pass a whole word up to three times.
    const cases = [
      {}, { steps: 14, wordBits: 3 }, { steps: 14 }, { launches: 3, steps: 5 },
      { sms: 3, steps: 7, wordBits: 4 }, { sms: 3, steps: 7, wordBits: 3 },
    ];
    expect(errorsOf(cases)).toEqual(cases.map(() => null));
  });

  it.each(launchDefects.slice(1))("fail if %s", (defect) => {
    expect(errorsOf([{ defect, wordBits: 3 }])).not.toEqual([null]);
  });

  it("fail where a word does not tell how far a count is from its target", () => {
    expect(errorsOf([{ sms: 3, wordBits: 1 }])).not.toEqual([null]);
  });
});

describe("flags in the data", () => {
  const model = compileSpin(flagModel);
  afterAll(() => model.dispose());
  const [sms, steps] = [2, 3];

  it("never show an older word, in steps of one and of many tokens", () => {
    expect(model.search([flagInput(sms, steps, "none")])[0]?.error).toBeNull();
  });

  it.each(flagDefects.slice(1))("fail if %s", (defect) => {
    expect(model.search([flagInput(sms, steps, defect)])[0]?.error).not.toBeNull();
  });
});

describe("the watchdog", () => {
  const model = compileSpin(abortModel);
  afterAll(() => model.dispose());

  const cases = (steps: number, defect: AbortDefect): readonly string[] =>
    [0, 1].map((watched) => abortInput({ sms: 2, steps, watched, defect }));

  it("lets every SM out, with one report, whichever waits give up and when", () => {
    const verdicts = model.search(cases(2, "none"));
    console.log(`2 SMs, 2 steps: ${verdicts.map(({ states }) => states).join(", ")} states`);
    expect(verdicts.map(({ error }) => error)).toEqual([null, null]);
  });

  it.each(abortDefects.slice(1))("fails if %s", (defect) => {
    const errors = model.search(cases(2, defect)).map(({ error }) => error);
    expect(errors).not.toEqual([null, null]);
  });
});
