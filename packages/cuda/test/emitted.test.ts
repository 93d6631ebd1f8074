/** @file Every word of the emitted tables counts: a text changed anywhere no longer says the Plan. */
import { readFileSync } from "node:fs";
import { kernelProtocol, plan, virtual } from "@mpk/schedule";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bodyTable, scheduleTable } from "@mpk/ops";
import type { Plan } from "@mpk/schedule";
import { toyTable } from "@mpk/schedule/testing";
import { type Emitted, emittedProblems } from "../src/index.ts";
import { decoderPlans, emitReal } from "./emitted/decoders.ts";
import { layered, passed } from "./emitted/programs.ts";
import { emitToy, toyBodies, toyPlans } from "./emitted/toy.ts";

/** The text with number `at` of a table raised by one. */
function withWord(source: string, table: string, at: number): string {
  const start = source.indexOf("{", source.indexOf(` ${table}[] = `)) + 1;
  const end = source.indexOf("}", start);
  const words = source.slice(start, end).split(",");
  const changed = words.map((text, i) =>
    i === at % words.length ? text.replace(/\d+/, (n) => String((Number(n) + 1) % 2 ** 32)) : text,
  );
  return source.slice(0, start) + changed.join(",") + source.slice(end);
}

const problemsOf = (plan: Plan, emitted: Emitted): readonly string[] =>
  emittedProblems(plan, emitted, toyTable, toyBodies);

describe("emitted tables", () => {
  test("say what the Plan says", () => {
    fc.assert(fc.property(decoderPlans, (plan) => {
      expect(emittedProblems(plan, emitReal(plan), scheduleTable, bodyTable)).toEqual([]);
    }), { numRuns: 30 });
    fc.assert(fc.property(toyPlans({ maxOps: 12 }), (plan) => {
      expect(problemsOf(plan, emitToy(plan))).toEqual([]);
    }), { numRuns: 30 });
  });

  test("say which events steps of one token leave alone", () => {
    const made = plan(passed(layered(2)), scheduleTable, virtual(3), { protocol: "flag" });
    const emitted = emitReal(made);
    const problems = (manifest = emitted.manifest, source = emitted.source) =>
      emittedProblems(made, { manifest, source }, scheduleTable, bodyTable);
    expect(made.events.manyOnly).toContain(1);
    expect(problems()).toEqual([]);
    const { flags, ...memory } = emitted.manifest.memory;
    expect(flags?.inputs.length).toBeGreaterThan(5);
    expect(problems({ ...emitted.manifest, memory }).join()).toMatch(/are cleared for flagged/);
    const always = emitted.source.replaceAll(/\b10737418(2[4-9]|[34]\d)u/g, (word) =>
      `${Number(word.slice(0, -1)) - 2 ** 30}u`);
    expect(always).not.toBe(emitted.source);
    expect(problems(emitted.manifest, always).join()).toMatch(/many-only signals/);
  });

  test.each(["kWords", "kRuns", "kRunStart"])("%s: one number more or less is told", (table) => {
    fc.assert(
      fc.property(toyPlans({ maxOps: 6 }), fc.nat(5000), (plan, at) => {
        const emitted = emitToy(plan);
        const source = withWord(emitted.source, table, at);
        // The bounds of an SM without tasks may move and still hold nothing.
        fc.pre(table !== "kRunStart" || new Set(plan.tasks.sm).size === plan.machine.sms);
        const problems = problemsOf(plan, { ...emitted, source });
        expect(problems.length).toBeGreaterThan(0);
      }),
      { numRuns: 60 },
    );
  });

  test("so is a stream that starts elsewhere, a counter that is not cleared, another ring", () => {
    fc.assert(
      fc.property(toyPlans({ maxOps: 6 }), (plan) => {
        const emitted = emitToy(plan);
        const { manifest } = emitted;
        const eventBytes = manifest.memory.eventBytes - 128;
        const cleared = { ...manifest, memory: { ...manifest.memory, eventBytes } };
        expect(problemsOf(plan, { ...emitted, manifest: cleared }).join()).toMatch(/are cleared/);
        const ring = { ...plan.ring, stages: plan.ring.stages + 1 };
        expect(problemsOf({ ...plan, ring }, emitted).join()).toMatch(/kStages is/);
        const spared = emitted.source.replaceAll(/(run_linear_alone<\w+), \w+, \w+>/g, "$1, false, false>");
        if (spared !== emitted.source) {
          expect(problemsOf(plan, { ...emitted, source: spared }).join()).toMatch(/has no text for that/);
        }
        const source = emitted.source.replace(/(kBodyTileChunks\[\] = \{\s*)0u/, "$11u");
        if (source === emitted.source) return;
        expect(problemsOf(plan, { ...emitted, source }).join()).toMatch(/copies other chunks/);
      }),
      { numRuns: 30 },
    );
  });
});

test("the device code counts as the verifier assumes", () => {
  const textOf = (name: string): string =>
    readFileSync(new URL(`../src/device/${name}.cuh`, import.meta.url), "utf8");
  const [core, ring, decode] = [textOf("core"), textOf("ring"), textOf("decode")];
  const { chunkLapShift, descriptors, eventBits, reportedOpBits } = kernelProtocol;
  expect(ring).toContain(`constexpr u32 kChunkLap = kStages << ${chunkLapShift};`);
  expect(ring).toContain("return chunk < 2 * kChunkLap ? chunk : kChunkLap + chunk % kChunkLap;");
  expect(core).toContain("static_cast<i32>(seen - target) < 0");
  expect(core).toContain(`event & 0x${(2 ** eventBits - 1).toString(16)}u`);
  expect(decode).toContain(`op & 0x${(2 ** reportedOpBits - 1).toString(16)}u`);
  expect(core).toContain("kStages % kConsumerWarps == 0");
  expect(decode).toContain(`(c.step & ${descriptors - 1}u)`);
});
