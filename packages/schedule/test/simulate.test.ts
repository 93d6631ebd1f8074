/** @file The simulator: what must hold of any plan, and a machine simple enough to compute by hand. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { farness, h200Constants, idleCauses, simulate } from "../src/index.ts";
import type { Plan, Simulation, SimulationConstants } from "../src/index.ts";
import { flaggedPlans, plans, toyTable } from "../src/testing/index.ts";

const anyPlan = fc.oneof(plans(), flaggedPlans());
const constants: fc.Arbitrary<SimulationConstants> = fc
  .record({
    streamShare: fc.integer({ min: 50, max: 100 }).map((percent) => percent / 100),
    chunkNanos: fc.integer({ min: 0, max: 3000 }),
    stageNanos: fc.integer({ min: 0, max: 500 }),
    copyLatencyNanos: fc.integer({ min: 0, max: 2000 }),
    handOffNanos: fc.integer({ min: 0, max: 3000 }),
    signalNanos: fc.integer({ min: 0, max: 20 }),
    flagNanos: fc.integer({ min: 0, max: 3000 }),
    handOffSpreadNanos: fc.integer({ min: 0, max: 2000 }),
    copySpreadNanos: fc.integer({ min: 0, max: 1000 }),
    stateCopyNanos: fc.integer({ min: 0, max: 1000 }),
    prologueNanos: fc.integer({ min: 0, max: 2000 }),
    epilogueNanos: fc.integer({ min: 0, max: 1000 }),
    stateNanos: fc.integer({ min: 0, max: 2000 }),
    stepNanos: fc.integer({ min: 0, max: 9000 }),
    activationBytesPerNano: fc.integer({ min: 1, max: 100 }),
    stateBytesPerNano: fc.integer({ min: 1, max: 100 }),
  });

const free: SimulationConstants = Object.freeze({
  streamShare: 1, chunkNanos: 0, stageNanos: 0, copyLatencyNanos: 0, handOffNanos: 0, signalNanos: 0,
  flagNanos: 0, handOffSpreadNanos: 0, copySpreadNanos: 0, stateCopyNanos: 0, prologueNanos: 0,
  epilogueNanos: 0, stateNanos: 0, stepNanos: 0,
  activationBytesPerNano: Infinity, stateBytesPerNano: Infinity,
});

const sum = (numbers: Iterable<number>): number => [...numbers].reduce((a, b) => a + b, 0);
const idleOf = ({ idleNanos }: Simulation): number =>
  sum(idleCauses.map((cause) => sum(idleNanos[cause])));

/** Slots that signal an event, and slots that wait for it in the same step. */
function waitsWithin(of: Plan): { readonly from: number; readonly to: number; event: number }[] {
  const slots = Array.from(of.order.items, (task, slot) => ({ task, slot }));
  const has = (lists: Plan["waits"], task: number, event: number): boolean =>
    lists.items.subarray(lists.start[task], lists.start[task + 1]).includes(event);
  return Array.from({ length: of.events.count }, (_, event) => event)
    .filter((event) => of.events.crossStep[event] === 0 && of.events.manyOnly[event] === 0)
    .flatMap((event) => {
      const to = slots.filter(({ task }) => has(of.waits, task, event));
      const from = slots.filter(({ task }) => has(of.signals, task, event));
      return from.flatMap((a) => to.map((b) => ({ from: a.slot, to: b.slot, event })));
    });
}

test("a step is the time of its bytes and that in which the memory stands still, but for the rings", () => {
  fc.assert(fc.property(anyPlan, constants, (made, costs) => {
    const got = simulate(made, toyTable, costs, { context: 5 });
    expect(got.stepNanos).toBeGreaterThanOrEqual(got.floorNanos * (1 - 1e-9));
    if (got.streamBytes === 0) return;
    // Rings may hold more or less at the end of a step than at its start.
    const { ring, machine } = made;
    const stages = ring.stages + ring.consumerWarps; // and what warps have in registers
    const held = (machine.sms * stages * ring.stageBytes * 1e9) / machine.readBytesPerSecond;
    const told = got.floorNanos + got.slowNanos + idleOf(got);
    expect(Math.abs(told - got.stepNanos)).toBeLessThanOrEqual(held / costs.streamShare + 1e-3);
    expect(idleOf(got)).toBeLessThanOrEqual(got.stepNanos + 1e-3);
  }), { numRuns: 200 });
});

test("a task begins after what it waits for, and an SM does one task at a time", () => {
  fc.assert(fc.property(anyPlan, constants, (made, costs) => {
    const { times } = simulate(made, toyTable, costs);
    const at = (list: Float64Array, slot: number): number => list[slot] ?? NaN;
    times.free.forEach((_, slot) => {
      expect(at(times.ready, slot)).toBeGreaterThanOrEqual(at(times.free, slot));
      expect(at(times.begin, slot)).toBeGreaterThanOrEqual(at(times.ready, slot));
      expect(at(times.end, slot)).toBeGreaterThanOrEqual(at(times.begin, slot));
    });
    for (let sm = 0; sm < made.machine.sms; sm++) {
      for (let slot = (made.order.start[sm] ?? 0) + 1; slot < (made.order.start[sm + 1] ?? 0); slot++) {
        expect(at(times.free, slot)).toBe(at(times.end, slot - 1));
      }
    }
    for (const { from, to } of waitsWithin(made)) {
      const sm = made.order.start.findLastIndex((start) => start <= to);
      const late = costs.handOffNanos + costs.handOffSpreadNanos * farness(sm);
      expect(at(times.ready, to)).toBeGreaterThanOrEqual(at(times.end, from) + late - 1e-6);
    }
  }), { numRuns: 200 });
});

test("neighbours are far apart, and SMs are anywhere between the first and the last", () => {
  const all = Array.from({ length: 132 }, (_, sm) => farness(sm));
  const sorted = all.toSorted((a, b) => a - b);
  expect(sorted[0]).toBeGreaterThanOrEqual(0);
  expect(sorted.at(-1)).toBeLessThan(1);
  for (let i = 1; i < all.length; i++) {
    expect(sorted[i]! - sorted[i - 1]!).toBeLessThan(3 / all.length);
    expect(Math.abs(all[i]! - all[i - 1]!)).toBeGreaterThan(0.3);
  }
});

test("an SM's shared memory serves one stage after another", () => {
  fc.assert(fc.property(anyPlan, fc.integer({ min: 1, max: 5000 }), (made, stageNanos) => {
    const { stepNanos } = simulate(made, toyTable, { ...free, stageNanos });
    const busiest = Math.max(...made.streams.map((stream) =>
      sum(stream.map(({ chunks, chunkBytes }) => chunks * chunkBytes / made.ring.stageBytes))));
    // What its warps hold already may have been served in the step before.
    const served = Math.max(0, busiest - made.ring.consumerWarps);
    expect(stepNanos).toBeGreaterThanOrEqual(served * stageNanos * (1 - 1e-9));
  }), { numRuns: 100 });
});

test("the same plan takes the same time", () => {
  fc.assert(fc.property(anyPlan, constants, (made, costs) => {
    const [a, b] = [simulate(made, toyTable, costs), simulate(made, toyTable, costs)];
    expect(b).toEqual(a);
  }), { numRuns: 20 });
});

test("where nothing but bytes costs time, one SM streams at full bandwidth", () => {
  fc.assert(fc.property(plans({ minSms: 1, maxSms: 1 }), (made) => {
    const { stepNanos, floorNanos } = simulate(made, toyTable, free);
    expect(stepNanos).toBeCloseTo(floorNanos, 6);
  }), { numRuns: 50 });
});

test("a longer context takes longer where a state is read, and more latency never helps one SM", () => {
  fc.assert(fc.property(plans({ minSms: 1, maxSms: 1 }), constants, (made, costs) => {
    const nanos = (changes: Partial<SimulationConstants>, context = 0): number =>
      simulate(made, toyTable, { ...costs, ...changes }, { context }).stepNanos;
    const base = nanos({});
    expect(nanos({}, 100)).toBeGreaterThanOrEqual(base - 1e-6);
    expect(nanos({ handOffNanos: costs.handOffNanos + 500 })).toBeGreaterThanOrEqual(base - 1e-6);
    // A little may hide behind the stream; a millisecond cannot.
    expect(nanos({ prologueNanos: costs.prologueNanos + 1e6 })).toBeGreaterThan(base + 5e5);
  }), { numRuns: 50 });
});

test("a plan that hangs is refused with the op that waits", () => {
  const [made] = fc.sample(plans({ minSms: 3, maxSms: 3 }).filter((p) => p.events.count > 0), 1);
  if (made === undefined) throw new Error("no plan");
  const threshold = made.events.threshold.map((n) => n + 1);
  const stuck = { ...made, events: { ...made.events, threshold } };
  expect(() => simulate(stuck, toyTable, h200Constants)).toThrow(/waits for ever at .*; verify the plan/s);
});

test("nonsense is refused", () => {
  const [made] = fc.sample(plans(), 1);
  if (made === undefined) throw new Error("no plan");
  expect(() => simulate(made, toyTable, free, { steps: 2 })).toThrow(/at least 3 steps, got 2/);
  expect(() => simulate(made, toyTable, free, { context: -1 })).toThrow(/context .* got -1/);
});
