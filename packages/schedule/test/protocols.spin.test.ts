/** @file The ring, the flags' protocol and the watchdog, searched exhaustively; every mistake shows. */
import { afterAll, describe, expect, it } from "vitest";
import {
  abortDefects, abortInput, abortModel, compileSpin, flagDefects, flagInput, flagModel, ringDefects, ringInput, ringModel,
} from "../src/testing/index.ts";
import type { AbortDefect, RingCase } from "../src/testing/index.ts";

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
