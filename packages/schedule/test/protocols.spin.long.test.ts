/** @file The ring with more stages and warps, flags in the data on three SMs and over four steps. */
import { afterAll, describe, expect, it } from "vitest";
import {
  abortInput, abortModel, compileSpin, endlessDepth, flagDefects, flagInput, flagModel, lapInput, lapModel, launchInput, launchModel,
  ringInput, ringModel,
} from "../src/testing/index.ts";

describe("the weight ring", () => {
  const model = compileSpin(ringModel);
  afterAll(() => model.dispose());

  it("delivers every chunk once, in order, and ends", () => {
    const shapes = [[4, 1, 3], [5, 1, 4], [6, 2, 3], [6, 2, 5], [8, 2, 5], [8, 4, 2]] as const;
    const inputs = shapes.flatMap(([stages, warps, inFlight]) =>
      [2, 5, 99].map((taskChunks) =>
        ringInput({ stages, warps, inFlight, taskChunks, chunks: 2 * stages + 2, defect: "none" }),
      ),
    );
    const verdicts = model.search(inputs);
    console.log(inputs.map((input, i) => `${input}: ${verdicts[i]?.states} states`).join("\n"));
    expect(verdicts.map(({ error }) => error)).toEqual(inputs.map(() => null));
  });
});

describe("the weight ring in launches of any length", () => {
  const model = compileSpin(lapModel, endlessDepth);
  afterAll(() => model.dispose());

  it.each([[4, 4, 2, 5, 8], [6, 2, 3, 4, 12], [4, 2, 3, 7, 24]] as const)(
    "%i stages, %i warps, %i in flight, steps of %i, numbers start over at %i",
    (stages, warps, inFlight, stepChunks, lap) => {
      const input = lapInput({ stages, warps, inFlight, stepChunks, lap, launches: 2, defect: "none" });
      const [verdict] = model.search([input]);
      console.log(`${input}: ${verdict?.states} states`);
      expect(verdict?.error).toBeNull();
    },
  );
});

describe("launches in a row", () => {
  const model = compileSpin(launchModel);
  afterAll(() => model.dispose());

  it.each([[3, 14, 2], [3, 6, 4], [2, 14, 5]])("%i SMs, %i steps, %i launches", (sms, steps, launches) => {
    const input = launchInput({ sms, steps, launches, wordBits: 4, defect: "none" });
    const [verdict] = model.search([input]);
    console.log(`${input}: ${verdict?.states} states`);
    expect(verdict?.error).toBeNull();
  });
});

describe("flags in the data", () => {
  const model = compileSpin(flagModel);
  afterAll(() => model.dispose());

  it.each([[2, 4], [3, 2]])("never show an older word: %d SMs, %d steps", (sms, steps) => {
    const [verdict] = model.search([flagInput(sms, steps, "none")]);
    console.log(`${sms} SMs, ${steps} steps: ${verdict?.states} states`);
    expect(verdict?.error).toBeNull();
  });

  it.each(flagDefects.slice(1))("fail within four steps if %s", (defect) => {
    expect(model.search([flagInput(2, 4, defect)])[0]?.error).not.toBeNull();
  });
});

describe("the watchdog", () => {
  const model = compileSpin(abortModel);
  afterAll(() => model.dispose());

  it.each([[2, 5], [3, 1]])("lets every SM out, with one report: %d SMs, %d steps", (sms, steps) => {
    const inputs = [0, 1].map((watched) => abortInput({ sms, steps, watched, defect: "none" }));
    const verdicts = model.search(inputs);
    console.log(`${sms} SMs, ${steps} steps: ${verdicts.map(({ states }) => states).join(", ")} states`);
    expect(verdicts.map(({ error }) => error)).toEqual([null, null]);
  });
});
