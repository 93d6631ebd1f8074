/** @file Laws of the ops' CUDA bodies: every instance has one, or is refused by name. */
import { scheduleTable } from "@mpk/ops";
import { bodyTable } from "@mpk/ops/cuda";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bodiesOf, tasksOf } from "../../cuda/test/emitted/source.ts";
import { attention, head, linear, writer } from "../../cuda/test/emitted/programs.ts";
import { benchOf } from "./bench.ts";
import { caseTable } from "./cases.ts";
import { programOfCases, sourceOf } from "./programs.ts";

/** What bodies say of instances that the kernel has no code for. */
const refusals =
  /^(attention on the GPU takes a head_dim of 16|a linear on the GPU multiplies bf16)/;

describe.each(Object.entries(caseTable))("%s", (kind, instances) => {
  it("has a body if its instances make tasks, none if it is a view", () => {
    fc.assert(
      fc.property(instances, (own) => {
        const schedule = scheduleTable.get(kind)!;
        const { op } = benchOf(schedule, own, "f32");
        expect(bodyTable.has(kind)).toBe(schedule.tiling.view(op) === null);
      }),
      { numRuns: 5 },
    );
  });

  it("renders any instance, or refuses it in words", () => {
    fc.assert(
      fc.property(instances, (own) => {
        const program = programOfCases([[kind, own]]);
        let source;
        try {
          source = sourceOf(program);
        } catch (error) {
          expect((error as Error).message).toMatch(refusals);
          return;
        }
        const bodies = bodiesOf(source);
        const op = program.ops.findIndex((each) => each.outputs[0] === program.outputs["case0"]);
        const runs = [...tasksOf(source)].flat().filter((task) => task.op === op)
          .map((task) => bodies[task.body]?.run);
        const body = bodyTable.get(kind);
        const { op: instance } = benchOf(scheduleTable.get(kind)!, own, "f32");
        const run = typeof body?.run === "function" ? body.run(instance) : body?.run;
        expect(new Set(runs)).toEqual(new Set(run === undefined ? [] : [run]));
        expect(bodies.map(({ text }) => text).join("").match(/undefined|NaN|Infinity|\[object|= ;|= ,/g)).toBeNull();
      }),
      { numRuns: 25 },
    );
  });
});

describe("instances that the kernel has no code for", () => {
  const w = () => writer("refused", { maxTokens: 4, maxContext: 64 });

  it("are heads of an odd width", () => {
    const m = w();
    const x = m.embed(100, 96);
    m.b.output("mixed", attention(m, x, { heads: 2, kvHeads: 1, headDim: 24 }));
    expect(() => sourceOf(head(m, x, 100)))
      .toThrow("attention on the GPU takes a head_dim of 16, 32, ... 256, not 24");
  });

  it("are heads too wide for the shared memory that the plan leaves", () => {
    const m = writer("wide", { maxTokens: 64, maxContext: 64 });
    const x = m.embed(100, 32);
    const wide = linear(m, "qkv", x, 768);
    m.b.output("mixed", attention(m, wide, { heads: 1, kvHeads: 1, headDim: 256 }));
    expect(() => sourceOf(head(m, x, 100), "sm_89"))
      .toThrow(/attention with head_dim 256 needs \d+ bytes of shared memory beside the ring/);
  });

  it("are products of float32", () => {
    const m = w();
    const x = m.embed(100, 32);
    const attrs = {
      groups: 1, norm: null, round: null, lastRow: false, out: "f32",
      epilogue: { op: "arg", index: 0 },
    };
    m.b.output("product", m.op("linear", [x, m.weight("w", [32, 32])], attrs));
    expect(() => sourceOf(head(m, x, 100))).toThrow(/multiplies bf16: cast x to bf16 before it/);
  });

  it("are more than 64 tokens a step", () => {
    const m = writer("long", { maxTokens: 65, maxContext: 65 });
    expect(() => sourceOf(head(m, m.embed(100, 32), 100)))
      .toThrow("a linear takes at most 64 tokens a step, not 65");
  });

  it("are logits of several rows, of which one is chosen later", () => {
    const m = w();
    const rows = linear(m, "head", m.embed(100, 32), 100);
    const last = m.op("lastRow", [rows]);
    m.b.output("token", m.op("sample", [last, m.op("blockMax", [last], { block: 32 })]));
    expect(() => sourceOf(m.b.build())).toThrow(/blockMax on the GPU takes the f32 \[1, N\]/);
  });
});
