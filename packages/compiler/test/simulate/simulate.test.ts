/** @file Simulated steps of models: the questions, the profile's form, and losses that add up. */
import { scheduleTable } from "@mpk/ops";
import { gpus, simulate, type Plan } from "@mpk/schedule";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import {
  accountsOf, gpuNamed, lossesOf, parseWhatIf, planSetting, profileOf, saveGpu, whatIfsFor,
  simulateSetting, traceOf, type Setting,
} from "../../src/index.ts";
import { tinyConfig } from "../checkpoint.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-simulate-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const model = join(dir, "config.json");
writeFileSync(model, JSON.stringify(tinyConfig));

const machine = { ...gpus.h200.machine, sms: 6 };
const setting: Setting = { model, gpu: { ...gpus.h200, machine }, context: 20, plan: {} };
const nanos = async (name: string): Promise<number> =>
  (await simulateSetting(parseWhatIf(name).change(setting))).simulation.stepNanos;

test("floor, losses and step add up, but for what rings hold", async () => {
  const { plan, simulation } = await simulateSetting(setting);
  const losses = lossesOf(plan, simulation);
  const sum = losses.reduce((all, loss) => all + loss.nanos, simulation.floorNanos);
  const { stages, stageBytes } = plan.ring;
  const held = (6 * stages * stageBytes * 1e9) / machine.readBytesPerSecond;
  expect(Math.abs(sum - simulation.stepNanos)).toBeLessThan(2 * held + 1);
  expect(losses.map((loss) => loss.nanos)).toEqual(losses.map((l) => l.nanos).sort((a, b) => b - a));
});

test("a simulated step is a profile: its accounts add up to the step, its trace has every task", async () => {
  const { plan, simulation } = await simulateSetting(setting, true);
  const profile = profileOf(plan, simulation);
  const accounts = accountsOf(plan, profile, machine.readBytesPerSecond);
  expect(accounts.stepNanos).toBeCloseTo(simulation.stepNanos, 3);
  const parts = Object.values(accounts.parts).reduce((sum, { nanos: n }) => sum + n, 0);
  expect(parts).toBeCloseTo(accounts.stepNanos, 3);
  for (const one of profile.steps[0]?.sms.flatMap(({ instructions }) => instructions) ?? []) {
    const marks = [one.start, one.ready, one.asked, one.data, one.consumed, one.end]
      .filter((mark): mark is number => mark !== null);
    expect(marks).toEqual([...marks].sort((a, b) => a - b));
  }
  const trace = JSON.parse(traceOf(plan, profile));
  const scopes = new Set(trace.traceEvents.map((event: { args?: { scope?: string } }) =>
    event.args?.scope));
  for (const { scope, outputs } of plan.program.ops) {
    if (plan.placements[outputs[0] ?? 0]?.kind === "scratch") expect(scopes).toContain(scope);
  }
});

test("what is read, held and stuck over time is the step's", async () => {
  const { plan, simulation } = await simulateSetting(setting, true);
  const { recording, streamBytes, stepNanos } = simulation;
  if (recording === null) throw new Error("nothing recorded");
  const read = recording.readBytes.reduce((a, b) => a + b, 0);
  // The first and the last bin reach over the step's ends, and rings carry over.
  const ringBytes = 6 * plan.ring.stages * plan.ring.stageBytes;
  expect(Math.abs(read - streamBytes)).toBeLessThanOrEqual(ringBytes);
  expect(Math.max(...recording.heldBytes)).toBeLessThanOrEqual(ringBytes);
  for (const list of recording.ringFull) {
    let last = 0;
    for (const { from, to } of list) {
      expect(from).toBeGreaterThanOrEqual(last);
      expect(to).toBeGreaterThan(from);
      last = to;
    }
    expect(last).toBeLessThanOrEqual(stepNanos + 1e-6);
  }
});

test("what is taken away saves time, and what is given adds none", async () => {
  const base = (await simulateSetting(setting)).simulation.stepNanos;
  expect(await nanos("no-hand-offs")).toBeLessThan(base);
  expect(await nanos("no-work")).toBeLessThan(base);
  expect(await nanos("bandwidth=x4")).toBeLessThanOrEqual(base);
  expect(await nanos("protocol=counter")).not.toBe(base);
});

test("every question of all can be asked", async () => {
  for (const { name } of whatIfsFor(setting.model, ["all"])) expect(await nanos(name), name).toBeGreaterThan(0);
});

test("twice the SMs are at most what a plan may have", async () => {
  const plan = await planSetting(parseWhatIf("sms=x2").change(setting));
  expect(plan.machine.sms).toBe(12);
  expect((await planSetting(parseWhatIf("sms=x100").change(setting))).machine.sms).toBe(256);
});

test.each(["nothing", "sms=0", "sms=", "ring=-1", "protocol=other", "no-hand-offs=1", "bandwidth=2"])(
  "%s is no question", (name) => {
    expect(() => parseWhatIf(name)).toThrow(/no such question/);
  },
);

test("a machine's file says the machine, and what is wrong in one is named", () => {
  const file = join(dir, "machine.json");
  for (const gpu of Object.values(gpus)) {
    writeFileSync(file, saveGpu(gpu));
    expect(gpuNamed(file)).toEqual(gpu);
    expect(gpuNamed(gpu.name)).toEqual(gpu);
  }
  expect(Object.values(gpus).map(({ name, source }) => [name, source])).toEqual([
    ["h200", "measured"], ["h100", "published"], ["a100", "published"], ["b200", "published"],
    ["rtx5090", "published"],
  ]);
  const broken = (text: string, message: RegExp): void => {
    writeFileSync(file, text);
    expect(() => gpuNamed(file)).toThrow(message);
  };
  const { constants } = gpus.h200;
  const edited = (change: object) => JSON.stringify({ ...gpus.h200, ...change });
  broken("{", /JSON/);
  broken("[]", /machine: expected an object/);
  broken(edited({ format: "mpk-plan" }), /machine\.format: expected "mpk-machine"/);
  broken(edited({ source: "hearsay" }), /machine\.source: expected measured, published/);
  broken(edited({ constants: { ...constants, flagNanos: -1 } }), /constants\.flagNanos: .*got -1/);
  broken(edited({ constants: { ...constants, streamShare: 0 } }), /constants\.streamShare/);
  broken(edited({ machine: { ...machine, sms: 999 } }), /1 to 256 SMs, got 999/);
  expect(() => gpuNamed("nowhere")).toThrow(/no such machine or file/);
});

/** Slots of a plan's attention. */
const attentionSlots = ({ order, tasks, program }: Plan): readonly number[] =>
  Array.from(order.items, (task, slot) => ({ task, slot }))
    .filter(({ task }) => program.ops[tasks.op[task] ?? 0]?.kind === "attention").map(({ slot }) => slot);

const planOf = (shape: string): Promise<Plan> =>
  planSetting({ ...setting, model: shape, gpu: gpus.h200 });

test("cached rows come in while attention waits for its query, not before it begins", async () => {
  const plan = await planOf("llama-3.2-1b");
  const [rate, headDim] = [10, 64];
  const of = (context: number) => simulate(
    plan, scheduleTable, { ...gpus.h200.constants, copyLatencyNanos: 0, stateBytesPerNano: rate }, { context },
  ).times;
  const [empty, long] = [of(0), of(1000)];
  const after = new Set(attentionSlots(plan).map((slot) =>
    ((empty.begin[slot] ?? 0) - (empty.ready[slot] ?? 0)).toFixed(3)));
  expect(after.size).toBe(1);
  for (const slot of attentionSlots(plan)) {
    const least = (1000 * headDim * 2 * 2) / rate;
    const waited = (long.begin[slot] ?? 0) - (long.free[slot] ?? 0) - Number([...after][0]);
    expect(waited).toBeGreaterThan(least - 1e-3);
    // Beside a ring of weights at most.
    expect(waited).toBeLessThan(least + (plan.ring.stages * plan.ring.stageBytes) / rate + 1e-3);
  }
});

test("weights give way to cached rows where SMs stream little", async () => {
  const heldBack = async (shape: string): Promise<number> => {
    const plan = await planOf(shape);
    // So slow that rings have room when attention begins.
    const slow = { ...plan, machine: { ...plan.machine, readBytesPerSecond: 1e12 } };
    const { times, recording } = simulate(
      slow, scheduleTable, gpus.h200.constants, { context: 100, record: true },
    );
    return attentionSlots(plan).filter((slot) => {
      const sm = plan.order.start.findIndex((first) => first > slot) - 1;
      const begin = times.begin[slot] ?? 0;
      return recording?.ringFull[sm]?.some(({ to }) => Math.abs(to - begin) < 1e-3) === true;
    }).length;
  };
  expect(await heldBack("qwen3-0.6b")).toBeGreaterThanOrEqual(16);
  expect(await heldBack("llama-3.2-1b")).toBe(0);
});
