/** @file The fit of costs: a GPU whose costs are known, for it is simulated. */
import { expect, test } from "vitest";
import { scheduleTable } from "@mpk/ops";
import { gpus, simulate, virtual, type SimulationConstants } from "@mpk/schedule";
import { modelFromConfig } from "@mpk/models";
import { errorPercent, fitCosts, leastSquares, planModel, predictor } from "../../src/index.ts";
import { tinyConfig } from "../checkpoint.ts";

/** Time as the number of looks at it. */
const looks = (): (() => number) => {
  let now = 0;
  return () => now++;
};

test("costs fitted to some steps predict others", async () => {
  const start: SimulationConstants = {
    ...gpus.h200.constants, flagNanos: 320, handOffNanos: 800, prologueNanos: 800, epilogueNanos: 400,
    chunkNanos: 800,
  };
  const hidden: SimulationConstants = {
    ...start, flagNanos: 700, handOffNanos: 1000, prologueNanos: 1200, epilogueNanos: 250,
  };
  const machine = virtual(4, { readBytesPerSecond: 4 * 35e9 });
  const observed = async (layers: number, width: number, protocol: "flag" | "counter") => {
    const config = { ...tinyConfig, num_hidden_layers: layers, intermediate_size: width };
    const { plan } = await planModel(modelFromConfig(config), { machine, plan: { protocol } });
    const { stepNanos: nanos } = simulate(plan, scheduleTable, hidden, { context: 9 });
    return { name: `${layers} ${width} ${protocol}`, plans: [{ plan, times: 1 }], context: 9, nanos };
  };
  const own = [
    await observed(2, 96, "flag"), await observed(2, 96, "counter"), await observed(3, 2048, "flag"),
  ];
  const other = await observed(4, 512, "flag");
  const now = looks();
  const fitted = fitCosts(own, start, () => now() < 150);
  const error = (costs: SimulationConstants, one = other): number =>
    Math.abs(errorPercent(predictor(one)(costs)));
  expect(error(start)).toBeGreaterThan(10);
  for (const one of own) expect(error(fitted, one), one.name).toBeLessThan(1);
  expect(error(fitted)).toBeLessThan(3);
});

test("the fit finds a valley's floor, and stops when time is over", () => {
  const valley = ([x = 0, y = 0]: readonly number[]) => [Math.sqrt(10) * (y - x * x), 1 - x];
  const [x, y] = leastSquares(valley, 2, () => true);
  expect(x).toBeCloseTo(1, 1);
  expect(y).toBeCloseTo(1, 1);
  const now = looks();
  let asked = 0;
  leastSquares((point) => {
    asked++;
    return valley(point);
  }, 2, () => now() < 10);
  expect(asked).toBeLessThan(12);
  expect(leastSquares(valley, 2, () => false)).toEqual([0, 0]);
});
