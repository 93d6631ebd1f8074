/** @file Predictions against step times measured on an H200, and how long a prediction takes. */
import { readFileSync } from "node:fs";
import { scheduleTable } from "@mpk/ops";
import { gpus, simulate } from "@mpk/schedule";
import { expect, test } from "vitest";
import { accountsOf, planSetting, profileOf, simulateSetting, type Setting } from "../../src/index.ts";

interface Measured {
  readonly shape: string;
  readonly plan?: object;
  readonly ms: number;
}
const path = new URL("../../../../bench/measured.json", import.meta.url);
const { steps, context, profiles } = JSON.parse(readFileSync(path, "utf8")) as {
  readonly steps: readonly Measured[];
  readonly context: number;
  readonly profiles: readonly {
    readonly shape: string;
    readonly plan?: Setting["plan"];
    readonly context: number;
    readonly ms: number;
    readonly ops: Readonly<Record<string, number>>;
  }[];
};
const compiled = steps.filter(({ plan }) => plan === undefined);
const setting = (model: string) => ({ model, gpu: gpus.h200, context, plan: {} });

test.each(compiled.filter(({ shape }) => /-0\.6b|-1b|-1\.7b/.test(shape)))(
  "$shape is predicted within 5 % of $ms ms", async ({ shape, ms }) => {
    const { simulation } = await simulateSetting(setting(shape));
    expect(Math.abs(simulation.stepNanos / 1e6 / ms - 1)).toBeLessThan(0.05);
  },
);

test.each(profiles)("ops of $shape are predicted within 15 % of its profile", async (profile) => {
  const asked = { ...setting(profile.shape), context: profile.context, plan: profile.plan ?? {} };
  const { plan, simulation } = await simulateSetting(asked, true);
  const { byOp } = accountsOf(plan, profileOf(plan, simulation), plan.machine.readBytesPerSecond);
  for (const [name, micros] of Object.entries(profile.ops)) {
    const predicted = byOp.find((row) => row.name === name)?.total.nanos ?? 0;
    expect(Math.abs(predicted / 1e3 / micros - 1), name).toBeLessThan(0.15);
  }
});

// Attention over parts of the context; the times are those of docs/performance.md.
test.each([
  { context: 4096, ms: 0.631, bytes: 2_605_711_360 },
  { context: 16_384, ms: 0.759, bytes: 3_008_364_544 },
])(
  "Llama-3.2-1B behind $context tokens is predicted within 4 % of $ms ms", async (at) => {
    const { plan, simulation } = await simulateSetting({
      ...setting("llama-3.2-1b"), context: at.context,
    });
    expect(plan.program.ops.map(({ kind }) => kind)).toContain("attentionPart");
    expect(Math.abs(simulation.stepNanos / 1e6 / at.ms - 1)).toBeLessThan(0.04);
    // The floor is of keys and values, too, and they take the time of their copies.
    expect(Math.abs(simulation.streamBytes / at.bytes - 1)).toBeLessThan(0.001);
    const free = { ...gpus.h200.constants, stateCopyNanos: 0 };
    const { stepNanos } = simulate(plan, scheduleTable, free, { context: at.context });
    expect(stepNanos).toBeLessThan(simulation.stepNanos);
  });

test("Qwen3-8B is predicted within 5 %, in 2 s of processor time", async () => {
  const plan = await planSetting(setting("qwen3-8b"));
  const before = process.cpuUsage();
  const { stepNanos } = simulate(plan, scheduleTable, gpus.h200.constants, { context });
  const { user, system } = process.cpuUsage(before);
  const measured = compiled.find(({ shape }) => shape === "qwen3-8b");
  expect(Math.abs(stepNanos / 1e6 / (measured?.ms ?? 0) - 1)).toBeLessThan(0.05);
  expect((user + system) / 1e6).toBeLessThan(2);
});
