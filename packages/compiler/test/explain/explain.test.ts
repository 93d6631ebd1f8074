/** @file Explanations: losses that add up, knobs that were tried, kernels that cannot read ahead. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gpus, type SimulationConstants } from "@mpk/schedule";
import { afterAll, expect, test } from "vitest";
import {
  accountsOf, explain, graphOf, measuredLosses, planSetting, profileOf, simulateSetting, type Setting,
} from "../../src/index.ts";
import { tinyConfig } from "../checkpoint.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-explain-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const model = join(dir, "config.json");
writeFileSync(model, JSON.stringify({ ...tinyConfig, intermediate_size: 4096 }));
const machine = { ...gpus.h200.machine, sms: 6, readBytesPerSecond: 6 * 35e9 };
const setting: Setting = { model, gpu: { ...gpus.h200, machine }, context: 20, plan: {} };

test("the largest losses come first, and with all others they lead from the floor to the step", async () => {
  const found = await explain(setting);
  expect(found.source).toBe("predicted");
  expect(found.losses).toHaveLength(5);
  const nanos = found.losses.map((loss) => loss.nanos);
  expect(nanos).toEqual([...nanos].sort((a, b) => b - a));
  const sum = nanos.reduce((a, b) => a + b, found.floorNanos + found.otherNanos);
  const { ring } = found.plan;
  const held = (6 * ring.stages * ring.stageBytes * 1e9) / machine.readBytesPerSecond;
  expect(Math.abs(sum - found.stepNanos)).toBeLessThan(2 * held);
});

test("a knob is only named where it shortens the loss and the step", async () => {
  const { knobs, losses, stepNanos } = await explain(setting);
  expect(knobs.map(({ name }) => name)).toContain("protocol=counter");
  for (const { knob } of losses) {
    if (knob === null) continue;
    expect(knob.lossSaved).toBeGreaterThan(0);
    expect(knob.stepNanos).toBeLessThan(stepNanos);
  }
});

const withCosts = (changes: Partial<SimulationConstants>, bandwidth = 1): Setting => ({
  ...setting,
  gpu: {
    ...setting.gpu, constants: { ...gpus.h200.constants, ...changes },
    machine: { ...machine, readBytesPerSecond: machine.readBytesPerSecond * bandwidth },
  },
});

test("what bounds a model is what it has too little of", async () => {
  const cheap = { flagNanos: 1, handOffNanos: 1, prologueNanos: 1, epilogueNanos: 1, stateNanos: 1 };
  expect((await explain(withCosts({ ...cheap, chunkNanos: 1 }, 0.02))).bound).toBe("memory");
  const far = { ...cheap, flagNanos: 9000, handOffNanos: 9000 };
  expect((await explain(withCosts(far))).bound).toBe("handOffs");
  expect((await explain(withCosts({ ...cheap, prologueNanos: 9000 }))).bound).toBe("work");
});

test("a profile's losses and floor make its step", async () => {
  const { plan, simulation } = await simulateSetting(setting, true);
  const accounts = accountsOf(plan, profileOf(plan, simulation), machine.readBytesPerSecond);
  expect(accounts.slowNanos).toBeGreaterThan(0);
  const sum = measuredLosses(accounts).reduce((all, { nanos }) => all + nanos, accounts.floorNanos);
  expect(sum).toBeCloseTo(accounts.stepNanos, 3);
});

test("separate kernels pay for each beginning and end, and are the floor where those are free", async () => {
  const plan = await planSetting(setting);
  const { constants } = gpus.h200;
  const { nanos, kernels, parts } = graphOf(plan, constants, 20);
  expect(kernels).toBe(2 * 5 + 4);
  expect(Object.values(parts).reduce((a, b) => a + b, 0)).toBeCloseTo(nanos, 6);
  const { simulation } = await simulateSetting(setting);
  const least = constants.epilogueNanos + constants.prologueNanos + 550;
  expect(nanos).toBeGreaterThan(simulation.floorNanos + kernels * least);
  const free = {
    ...constants, streamShare: 1, copyLatencyNanos: 0, prologueNanos: 0, epilogueNanos: 0, chunkNanos: 0,
    stateNanos: 0, activationBytesPerNano: Infinity, stateBytesPerNano: Infinity,
  };
  expect(graphOf(plan, free, 20).nanos).toBeCloseTo(simulation.floorNanos + kernels * 550, 3);
});
