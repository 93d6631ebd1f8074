/** @file What the verifier says: each law by an example, as its reader meets it. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { machines, plan, verify } from "../src/index.ts";
import type { LawName, Plan } from "../src/index.ts";
import { buildProgram, plans, toyTable } from "../src/testing/index.ts";

const program = buildProgram({
  hidden: 40, vocabulary: 20, maxTokens: 2,
  ops: [
    { kind: "matmul", from: 0, size: 4, flavor: 0 },
    { kind: "mix", from: 1, size: 1, flavor: 0 },
    { kind: "fold", from: 1, size: 1, flavor: 2 },
  ],
});
const options = { consumerWarps: 2, stages: 4, stageBytes: 1024, maxInFlight: 2 };
const good = plan(program, toyTable, { ...machines.h200, name: "three", sms: 3 }, options);

function firstOf(broken: Plan, name: LawName): string {
  const law = verify(broken, toyTable).laws.find((report) => report.name === name);
  return law?.violations.map(({ message }) => message).join("\n") ?? "not checked";
}

describe("the verifier", () => {
  it("reports all laws and what was checked of each", () => {
    const { laws, ok } = verify(good, toyTable);
    expect(ok).toBe(true);
    expect(laws.map(({ law, name }) => `${law} ${name}`)).toEqual([
      "1 coverage", "2 races", "3 deadlock", "4 counts", "5 streams", "6 memory",
      "7 device",
    ]);
    for (const { checked } of laws) {
      expect(Object.values(checked).every((count) => count > 0)).toBe(true);
    }
  });

  it("shares no code with the planner", () => {
    const folder = join(import.meta.dirname, "../src/verify");
    const imports = readdirSync(folder).flatMap((file) =>
      [...readFileSync(join(folder, file), "utf8").matchAll(/from "(\.\.\/[^"]+)"/g)].map(
        ([, path]) => path,
      ),
    );
    const allowed = ["../contracts.ts", "../errors.ts", "../kernel.ts", "../plan.ts", "../structure.ts"];
    expect(new Set(imports)).toEqual(new Set(allowed));
  });

  it("raises no false alarm, and tells the same each time", () => {
    fc.assert(
      fc.property(plans({ minSms: 1, maxSms: 20 }), (made) => {
        const [a, b] = [verify(made, toyTable), verify(made, toyTable)];
        expect(a.ok).toBe(true);
        expect(a.laws).toEqual(b.laws);
      }),
      { numRuns: 100 },
    );
  });

  it("shows a race as its two tasks, with what they wait for and signal", () => {
    const waits = { start: good.waits.start.map(() => 0), items: new Int32Array() };
    const { laws } = verify({ ...good, waits }, toyTable);
    const race = laws[1]?.violations.find(({ message }) => message.includes("read too early"));
    expect(race?.smallest).toMatch(/^SM \d: task \d+, .*\nSM \d: task \d+, .*\nno chain of/);
  });

  const { ring } = good;
  it.each<[LawName, Partial<Plan>, RegExp]>([
    [
      "streams", { ring: { ...ring, stages: 5 } },
      /5 stages are no multiple of 2 consumer warps; .* takes the old phase for the new/,
    ],
    ["streams", { ring: { ...ring, maxInFlight: 5 } }, /5 chunks in flight need as many stages, .* 4/],
    [
      "memory", { machine: { ...good.machine, sharedBytes: 1000 } },
      /shared memory: .* an SM of three has 1000/,
    ],
    [
      "memory", { machine: { ...good.machine, memoryBytes: 1000 } },
      /device memory: .* exceed the 1000 bytes of three; lower maxContext/,
    ],
    ["memory", { pages: 0 }, /KV pages: 0 of 64 positions hold 0 of 32/],
    ["memory", { scratchBytes: 256 }, /ends at byte \d+ of an arena of 256/],
    [
      "counts", { events: { ...good.events, threshold: good.events.threshold.map((x) => x + 1) } },
      /event 0 \(threshold \d\) is triggered \d times a step/,
    ],
    ["coverage", { tasks: { ...good.tasks, sm: Int32Array.of(9) } }, /tasks\.sm: expected/],
    [
      "coverage", { program: { ...program, ops: program.ops.map((op) => ({ ...op, kind: "x" })) } },
      /there is no op called x/,
    ],
  ])("names what breaks law %s", (law, change, message) => {
    expect(firstOf({ ...good, ...change }, law)).toMatch(message);
  });
});
