/** @file Every violation gives a schedule that shows it, on the broken plan and on no other. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  counterexampleOf, loadCounterexample, machines, plan, PlanFormatError, replay, ReplayError,
  saveCounterexample, verify,
} from "../src/index.ts";
import type { Counterexample, Plan } from "../src/index.ts";
import { buildProgram, flaggedPlans, mutatedPlans, plans, toyTable } from "../src/testing/index.ts";

/** With counters alone, and with flags in the data. */
const either = fc.oneof(plans({ maxOps: 5 }), flaggedPlans({ maxOps: 5 }));

const violationsOf = (broken: Plan) =>
  verify(broken, toyTable).laws.flatMap((law) => law.violations);

/** Whether the plan shows it; a plan with other tasks in these places does not. */
function shows(made: Plan, saved: Counterexample): boolean {
  try {
    return replay(made, toyTable, saved).shown;
  } catch (error) {
    if (error instanceof ReplayError) return false;
    throw error;
  }
}

describe("counterexamples", () => {
  it("come back from their text, show the violation, and do not show it on the sound plan", () => {
    const kinds = new Map<string, number>();
    fc.assert(
      fc.property(mutatedPlans(either), ({ original, mutated }) => {
        for (const violation of violationsOf(mutated)) {
          const made = counterexampleOf(mutated, toyTable, violation);
          const saved = loadCounterexample(saveCounterexample(made));
          expect(saved).toEqual(made);
          if (violation.law === "coverage" && verify(mutated, toyTable).laws.length === 1) continue;
          expect(replay(mutated, toyTable, saved)).toMatchObject({ shown: true });
          expect(shows(original, saved)).toBe(false);
          kinds.set(saved.claim.kind, (kinds.get(saved.claim.kind) ?? 0) + 1);
        }
      }),
      { numRuns: 1000 },
    );
    console.log([...kinds].map(([kind, count]) => `${count} ${kind}`).join(", "));
    for (const kind of ["race", "deadlock", "count", "law"]) expect(kinds.get(kind)).toBeDefined();
  });

  it("show every race as a run, unless counts are wrong too", () => {
    fc.assert(
      fc.property(mutatedPlans(plans({ maxOps: 5 }), ["drop a wait", "swap two tasks on an SM"]),
        ({ mutated }) => {
          const violations = violationsOf(mutated);
          if (violations.some(({ law }) => law === "counts")) return;
          for (const violation of violations.filter(({ evidence }) => evidence !== undefined)) {
            expect(counterexampleOf(mutated, toyTable, violation).claim.kind).not.toBe("law");
          }
        }),
      { numRuns: 100 },
    );
  });

  it("leave out what the end does not rest on: no move can be spared", () => {
    fc.assert(
      fc.property(mutatedPlans(plans({ maxOps: 3, maxSms: 3 }), ["drop a wait"]), ({ mutated }) => {
        for (const violation of violationsOf(mutated)) {
          const saved = counterexampleOf(mutated, toyTable, violation);
          if (saved.claim.kind !== "race") continue;
          saved.schedule.forEach((_, i) => {
            const schedule = saved.schedule.filter((_move, at) => at !== i);
            expect(shows(mutated, { ...saved, schedule })).toBe(false);
          });
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe("replay, by example", () => {
  const program = buildProgram({
    hidden: 40, vocabulary: 20, maxTokens: 2, ops: [{ kind: "matmul", from: 0, size: 4, flavor: 0 }],
  });
  const options = { consumerWarps: 2, stages: 4, stageBytes: 1024, maxInFlight: 2 };
  const good = plan(program, toyTable, { ...machines.h200, name: "three", sms: 3 }, options);
  const without = (event: number): Plan => {
    const start = [0];
    const items = Array.from({ length: good.tasks.count }, (_, task) => {
      const list = [...good.waits.items.subarray(good.waits.start[task], good.waits.start[task + 1])];
      const kept = list.filter((id) => id !== event);
      start.push((start.at(-1) ?? 0) + kept.length);
      return kept;
    }).flat();
    return { ...good, waits: { start: Int32Array.from(start), items: Int32Array.from(items) } };
  };
  const first = (broken: Plan, kind: string) => {
    const violation = violationsOf(broken).find(({ evidence }) => evidence?.kind === kind);
    if (violation === undefined) throw new Error(`no ${kind}`);
    return counterexampleOf(broken, toyTable, violation);
  };

  it("tells of a race who reads what another has not written", () => {
    const broken = without(0);
    const { lines, shown } = replay(broken, toyTable, first(broken, "race"));
    expect(shown).toBe(true);
    expect(lines.join("\n")).toMatch(/starts task \d+, matmul.*past|waiting for nothing/);
    expect(lines.join("\n")).toMatch(/is under way: reads columns .* of lookup/);
    expect(lines.join("\n")).toMatch(/is not over: writes columns .* of lookup/);
    expect(lines.at(-2)).toMatch(/^lookup: read before it is written$/);
  });

  it("tells of a deadlock who waits for whom", () => {
    const threshold = good.events.threshold.map((x, event) => (event === 0 ? x + 1 : x));
    const broken = { ...good, events: { ...good.events, threshold } };
    const { lines } = replay(broken, toyTable, first(broken, "deadlock"));
    expect(lines.join("\n")).toMatch(/is stuck: it waits for event 0 .*, needs \d, sees \d; no trig/);
  });

  it("tells of a sound plan what holds the SM back", () => {
    const { lines, shown } = replay(good, toyTable, first(without(0), "race"));
    expect(shown).toBe(false);
    expect(lines.join("\n")).toMatch(/cannot start task \d+: it waits for event 0/);
  });

  it("refuses another plan and text that is none, naming what is wrong", () => {
    const saved = first(without(0), "race");
    const other = plan(program, toyTable, { ...machines.h200, name: "two", sms: 2 }, options);
    expect(() => replay(other, toyTable, saved)).toThrow(/on 3 SMs, the plan is of random on 2/);
    expect(() => loadCounterexample("{}")).toThrow(PlanFormatError);
    const text = saveCounterexample({ ...saved, schedule: [] }).replace('"race"', '"row"');
    expect(() => loadCounterexample(text)).toThrow(/claim\.kind: expected race, epoch, .* got "row"/);
    const far = { ...saved, before: [{ sm: 99, moves: 1 }] };
    expect(() => replay(without(0), toyTable, far)).toThrow(/there is no SM 99/);
  });
});

it("a step that would take for ever to reach is refused", () => {
  const far = {
    format: "mpk-counterexample", version: 1, program: "p", sms: 1, law: "races", message: "",
    kinds: [], claim: { kind: "law" }, before: [],
    schedule: [{ sm: 0, step: 2 ** 40, task: 0, action: "start" }],
  };
  expect(() => loadCounterexample(JSON.stringify(far))).toThrow(
    "counterexample.schedule[0].step: expected at most 256, got 1099511627776",
  );
});
