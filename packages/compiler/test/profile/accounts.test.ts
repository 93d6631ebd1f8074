/** @file Where the time went: whatever the marks say, the parts add up to the step. */
import type { InstructionTimes, Interval, Profile } from "@mpk/runtime";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { accountsOf, opName, spansOf, windowOf } from "../../src/profile/accounts.ts";
import { overlaps, partNames } from "../../src/profile/timeline.ts";
import { traceOf } from "../../src/profile/trace.ts";
import { simulate, tinyPlan, type Costs } from "./synthetic.ts";

const plans = [1, 3, 7].map(tinyPlan);
/** By place in the list, so that a counterexample stays short. */
const anyPlan = fc.nat(plans.length - 1);
const nanos = fc.integer({ min: 0, max: 5000 });
const costs: fc.Arbitrary<Costs> = fc.record({
  gate: nanos, dispatch: nanos, handOff: nanos, norm: nanos, prepare: nanos, ringEmpty: nanos,
  stalled: nanos, stream: nanos, finish: nanos, signal: nanos, attention: nanos,
  compute: nanos,
});

/** Disjoint intervals in order. */
const intervals: fc.Arbitrary<readonly Interval[]> = fc
  .array(fc.integer({ min: -2000, max: 200_000 }), { maxLength: 40 })
  .map((ends) => {
    const sorted = ends.toSorted((a, b) => a - b);
    return Array.from({ length: sorted.length >> 1 }, (_, i) => ({
      from: sorted[2 * i] ?? 0, to: sorted[2 * i + 1] ?? 0,
    }));
  });

/** Any times at all: out of order, outside of the step. */
function scrambled(profile: Profile, draw: () => number): Profile {
  const change = (one: InstructionTimes): InstructionTimes => {
    const pick = (time: number | null) => (time === null ? null : time + draw());
    const drop = (time: number | null) => (draw() < 0 ? null : pick(time));
    return {
      ...one, start: one.start + draw(), ready: one.ready + draw(), end: one.end + draw(),
      placed: drop(one.placed), asked: pick(one.asked), data: pick(one.data),
      consumed: pick(one.consumed), stored: drop(one.stored),
    };
  };
  return {
    ...profile,
    steps: profile.steps.map((step) => ({
      ...step,
      sms: step.sms.map((sm) => ({ ...sm, instructions: sm.instructions.map(change) })),
    })),
  };
}

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);
const close = (a: number, b: number) => expect(Math.abs(a - b)).toBeLessThan(1e-3);

describe("laws", () => {
  test("spans cover each SM's step, in order, once", () => {
    fc.assert(
      fc.property(anyPlan, costs, fc.integer(), (which, cost, seed) => {
        const made = plans[which]!;
        let state = seed;
        const draw = () => ((state = Math.imul(state, 1_664_525) + 1_013_904_223) >> 16) % 3000;
        for (const profile of [simulate(made, 2, cost), scrambled(simulate(made, 2, cost), draw)]) {
          profile.steps.forEach((step, index) => {
            const window = windowOf(step, profile.steps[index + 1]);
            for (const { spans } of spansOf(made, profile, index)) {
              let at = window.from;
              for (const { from, to } of spans) {
                expect(from).toBe(at);
                expect(to).toBeGreaterThan(from);
                at = to;
              }
              expect(at).toBe(window.to);
            }
          });
        }
      }),
      { numRuns: 30 },
    );
  });

  test("the parts, the ops and the layers each add up to the step; so does the gap", () => {
    fc.assert(
      fc.property(anyPlan, costs, fc.array(intervals), (which, cost, full) => {
        const made = plans[which]!;
        const simulated = simulate(made, 3, cost);
        const ringFull = simulated.ringFull.map((_, sm) => full[sm] ?? []);
        const accounts = accountsOf(made, { ...simulated, ringFull }, 1e9);
        close(sum(partNames.map((part) => accounts.parts[part].nanos)), accounts.stepNanos);
        for (const rows of [accounts.byOp, accounts.byLayer]) {
          close(sum(rows.map(({ total }) => total.nanos)), accounts.stepNanos);
          for (const part of partNames) {
            close(sum(rows.map((row) => row.parts[part].nanos)), accounts.parts[part].nanos);
            close(sum(rows.map((row) => row.parts[part].fullNanos)), accounts.parts[part].fullNanos);
          }
        }
        const fulls = sum(partNames.map((part) => accounts.parts[part].fullNanos));
        close(accounts.floorNanos + accounts.slowNanos + fulls, accounts.stepNanos);
        for (const part of partNames) {
          const { nanos: all, fullNanos } = accounts.parts[part];
          expect(fullNanos).toBeLessThanOrEqual(all + 1e-6);
        }
      }),
      { numRuns: 40 },
    );
  });

  test("overlaps are those found one nanosecond at a time", () => {
    const small = fc.array(fc.nat(60), { minLength: 2, maxLength: 12 }).map((ends) => {
      const sorted = ends.toSorted((a, b) => a - b);
      return sorted.slice(1).map((to, i) => ({ from: sorted[i] ?? 0, to }));
    });
    fc.assert(
      fc.property(small, small, (spans, all) => {
        const some = all.filter((_, i) => i % 2 === 0);
        const inside = (at: number) => some.some(({ from, to }) => at >= from && at < to);
        const expected = spans.map(({ from, to }) =>
          Array.from({ length: to - from }, (_, i) => from + i).filter(inside).length);
        expect(overlaps(spans, some)).toEqual(expected);
      }),
    );
  });

  test("costs put in come out under their names", () => {
    fc.assert(
      fc.property(anyPlan, costs, (which, cost) => {
        const made = plans[which]!;
        const accounts = accountsOf(made, simulate(made, 1, cost), 1e9);
        const { sms } = made.machine;
        // Instructions up to the last that streams; what follows is the tail.
        const before = Array.from({ length: sms }, (_, sm) => {
          const tasks = [...made.order.items.subarray(made.order.start[sm], made.order.start[sm + 1])];
          const streams = tasks.map((task) => made.streams[sm]?.some((s) => s.task === task));
          return tasks.slice(0, streams.lastIndexOf(true) + 1);
        }).flat();
        const streaming = made.streams.flat().length;
        const attends = (task: number) =>
          (made.program.ops[made.tasks.op[task] ?? 0]?.states.length ?? 0) > 0;
        const expected = {
          dispatch: before.length * cost.dispatch,
          norm: streaming * cost.norm,
          prepare: streaming * cost.prepare,
          ringEmpty: streaming * (cost.ringEmpty + cost.stalled),
          stream: streaming * cost.stream,
          finish: streaming * cost.finish,
          signal: streaming * cost.signal,
          attention: before.filter(attends).length * cost.attention,
        };
        for (const [part, total] of Object.entries(expected)) {
          close(accounts.parts[part as keyof typeof expected].nanos * sms, total);
        }
      }),
      { numRuns: 30 },
    );
  });
});

describe("an example", () => {
  const cost: Costs = {
    gate: 700, dispatch: 10, handOff: 900, norm: 200, prepare: 100, ringEmpty: 40, stalled: 60,
    stream: 2000, finish: 100, signal: 100, attention: 1500, compute: 100,
  };
  const made = tinyPlan(3);
  const profile = simulate(made, 2, cost);

  test("hand-offs cost what they cost, apart from the wait for the last one to finish", () => {
    const { spans } = spansOf(made, profile, 0).find(({ sm }) => sm === 1)!;
    const handOffs = spans.filter(({ part }) => part === "handOff");
    expect(handOffs.length).toBeGreaterThan(5);
    // Where this SM was the last itself, its own dispatch is part of the wait.
    expect(new Set(handOffs.map(({ from, to }) => to - from))).toEqual(new Set([900, 890]));
  });

  test("ops are called by their weights; layers come in order", () => {
    const accounts = accountsOf(made, profile, 4.6e12);
    const names = accounts.byOp.map(({ name }) => name);
    expect(names).toContain("gate_proj + up_proj");
    expect(names).toContain("attention");
    expect(accounts.byLayer.map(({ name }) => name)).toEqual([
      "layer 0", "layer 1", "outside of layers",
    ]);
    expect(opName(made, -1)).toBe("between instructions");
  });

  test("the trace holds every span, and when the ring was full", () => {
    const ringFull = profile.ringFull.map(() => [{ from: 200, to: 450 }]);
    const trace = JSON.parse(traceOf(made, { ...profile, ringFull })) as {
      traceEvents: { ph: string; pid: number; name: string; ts?: number; dur?: number }[];
    };
    const { traceEvents } = trace;
    const spans = [0, 1].flatMap((i) => spansOf(made, profile, i)).flatMap((one) => one.spans);
    expect(traceEvents.filter(({ ph, pid }) => ph === "X" && pid === 1)).toHaveLength(spans.length);
    const full = traceEvents.filter(({ name }) => name === "ring full");
    expect(full).toMatchObject([0, 1, 2].map(() => ({ ts: 0.2, dur: 0.25 })));
  });
});
