/** @file What the planner promises beyond the laws: balance, repetition, sizes, cost, errors. */
import { createBuilder } from "@mpk/ir";
import type { Program, ValueId } from "@mpk/ir";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { machines, plan, PlanError, verify, virtual } from "../src/index.ts";
import type { Plan } from "../src/index.ts";
import { planOptions, plans, programs, toySemantics, toyTable } from "../src/testing/index.ts";

/** Layers of two products and a sum, as large as asked. */
function layered(layers: number, hidden: number, inner: number, maxTokens = 8): Program {
  const limits = { maxTokens, maxContext: 64 };
  const builder = createBuilder({ name: "layered", limits, table: toySemantics });
  const only = (ids: readonly ValueId[]): ValueId => ids[0] ?? -1;
  const weight = (name: string, n: number, k: number): ValueId =>
    builder.weight(name, { dtype: "bf16", shape: [n, k] });
  const attrs = { groups: 1, slice: 0, lastRow: false };
  const ids = builder.input("ids");
  let x = only(builder.op({ kind: "lookup", inputs: [ids, weight("table", 64, hidden)] }));
  for (let layer = 0; layer < layers; layer++) {
    const scope = `layers.${layer}`;
    const up = weight(`${scope}.up`, inner, hidden);
    const down = weight(`${scope}.down`, hidden, inner);
    const h = only(builder.op({ kind: "matmul", inputs: [x, up], attrs, scope }));
    const y = only(builder.op({ kind: "matmul", inputs: [h, down], attrs, scope }));
    const sum = { bias: false, out: "f32" };
    x = only(builder.op({ kind: "fold", inputs: [x, y], attrs: sum, scope }));
  }
  const row = only(builder.op({ kind: "last", inputs: [x] }));
  const head = weight("head", 512, hidden);
  const logits = only(builder.op({ kind: "matmul", inputs: [row, head], attrs }));
  builder.output("token", only(builder.op({ kind: "choose", inputs: [logits] })));
  return builder.build();
}

function streamedBytes({ streams }: Plan): readonly number[] {
  return streams.map((list) => list.reduce((sum, s) => sum + s.chunks * s.chunkBytes, 0));
}

/** Tile ranges by SM of one op. */
function sharesOf({ tasks }: Plan, op: number): readonly (readonly number[])[] {
  const ids = [...tasks.op.keys()].filter((task) => tasks.op[task] === op);
  return ids.map((t) => [tasks.sm[t] ?? 0, tasks.tileLo[t] ?? 0, tasks.tileHi[t] ?? 0]);
}

describe("a plan", () => {
  it("is the same for the same input", () => {
    fc.assert(
      fc.property(programs(), planOptions(), fc.integer({ min: 1, max: 40 }), (p, o, sms) => {
        expect(plan(p, toyTable, virtual(sms), o)).toEqual(plan(p, toyTable, virtual(sms), o));
      }),
      { numRuns: 50 },
    );
  });

  it("splits each spread op evenly: shares differ by one tile at most", () => {
    fc.assert(
      fc.property(plans({ minSms: 1, maxSms: 40 }), (made) => {
        made.program.ops.forEach(({ kind }, op) => {
          const tiles = sharesOf(made, op).map(([, lo = 0, hi = 0]) => hi - lo);
          if (kind === "choose" || tiles.length === 0) return;
          const least = tiles.length < made.machine.sms ? 0 : Math.min(...tiles);
          expect(Math.max(...tiles) - least).toBeLessThanOrEqual(1);
        });
      }),
      { numRuns: 100 },
    );
  });

  it("has ops that read the same value, and stream nothing, on different SMs", () => {
    const builder = createBuilder({
      name: "siblings", limits: { maxTokens: 8, maxContext: 64 }, table: toySemantics,
    });
    const only = (ids: readonly ValueId[]): ValueId => ids[0] ?? -1;
    const weight = (name: string, n: number): ValueId =>
      builder.weight(name, { dtype: "bf16", shape: [n, 32] });
    const x = only(builder.op({ kind: "lookup", inputs: [builder.input("ids"), weight("table", 64)] }));
    const attrs = { bias: false, out: "f32" };
    builder.output("sums", only(builder.op({ kind: "fold", inputs: [x, x], attrs })));
    builder.output("more", only(builder.op({ kind: "fold", inputs: [x, x, x], attrs })));
    // Ten tiles leave six SMs that have streamed nothing, fewer than eight tasks want.
    const product = { groups: 1, slice: 0, lastRow: false };
    const y = only(builder.op({ kind: "matmul", inputs: [x, weight("w", 160)], attrs: product }));
    const row = only(builder.op({ kind: "last", inputs: [y] }));
    builder.output("token", only(builder.op({ kind: "choose", inputs: [row] })));
    const made = plan(builder.build(), toyTable, virtual(16));
    const [first, second] = [1, 2].map((op) => sharesOf(made, op).map(([sm]) => sm));
    expect([first?.length, second?.length]).toEqual([4, 4]);
    expect(second?.filter((sm) => first?.includes(sm))).toEqual([]);
  });

  it("repeats after a period of layers; without one, bytes are balanced to a tile", () => {
    const program = layered(12, 256, 1024);
    const periodic = plan(program, toyTable, virtual(7));
    expect(sharesOf(periodic, 1)).toEqual(sharesOf(periodic, 4));
    expect(sharesOf(periodic, 2)).toEqual(sharesOf(periodic, 35));
    const paired = plan(program, toyTable, virtual(7), { period: 2 });
    expect(sharesOf(paired, 1)).toEqual(sharesOf(paired, 7));
    expect(sharesOf(paired, 1)).not.toEqual(sharesOf(paired, 4));
    const balanced = streamedBytes(plan(program, toyTable, virtual(7), { period: Infinity }));
    const largestTile = 16 * 1024 * 2;
    expect(Math.max(...balanced) - Math.min(...balanced)).toBeLessThanOrEqual(largestTile);
    expect(Math.max(...balanced)).toBeLessThanOrEqual(Math.max(...streamedBytes(periodic)));
  });

  it("waits only for what is not implied: a sum of two results waits for one at most", () => {
    const made = plan(layered(3, 256, 256), toyTable, virtual(5));
    const sums = [...made.tasks.op.keys()].filter(
      (task) => made.program.ops[made.tasks.op[task] ?? -1]?.kind === "fold",
    );
    expect(sums.length).toBeGreaterThan(3);
    for (const task of sums) {
      const [from = 0, to = 0] = [made.waits.start[task], made.waits.start[task + 1]];
      expect(to - from).toBeLessThanOrEqual(1);
    }
    expect(made.edgesBeforeFusion).toBeGreaterThan(made.events.count);
  });

  it("reuses memory: more layers need no more of it", () => {
    const bytes = (layers: number): number =>
      plan(layered(layers, 256, 1024), toyTable, virtual(8)).scratchBytes;
    expect(bytes(20)).toBe(bytes(3));
  });
});

describe("the ring", () => {
  it.each([
    ["h200", 4096, 12288, 8, 24], ["h200", 2048, 8192, 8, 24], ["a100", 4096, 12288, 8, 16],
    ["rtx4090", 2048, 8192, 8, 8],
  ] as const)("of %s for %d and %d columns, %d tokens has %d stages", (name, h, i, t, stages) => {
    const { ring } = plan(layered(1, h, i, t), toyTable, machines[name]);
    expect(ring.stages).toBe(stages);
    expect(ring.activationBytes).toBeGreaterThanOrEqual(2 * i + 64);
    const used = ring.stages * ring.stageBytes + ring.activationBytes + 2 * ring.partialBytes;
    expect(used).toBeLessThanOrEqual(machines[name].sharedBytes);
  });
});

describe("cost", () => {
  it("grows linearly with layers", () => {
    const millis = (layers: number): number => {
      const program = layered(layers, 4096, 12288);
      const times = Array.from({ length: 3 }, () => {
        const begin = performance.now();
        expect(verify(plan(program, toyTable, machines.h200), toyTable).ok).toBe(true);
        return performance.now() - begin;
      });
      return Math.min(...times);
    };
    millis(4);
    const costs = [8, 16, 32, 64].map((layers) => [layers, millis(layers)] as const);
    console.log(costs.map(([n, ms]) => `${n} layers: ${ms.toFixed(0)} ms`).join(", "));
    const [[, least] = [0, 0]] = costs;
    // Eight times the layers; the margin is for a busy machine.
    expect(costs[3]?.[1]).toBeLessThan(8 * least * 2.5 + 200);
  });
});

describe("what cannot be planned is refused by name", () => {
  const program = layered(1, 64, 64);
  it.each([
    [() => virtual(0), /machine virtual-0: expected 1 to 256 SMs, got 0/],
    [() => virtual(257), /expected 1 to 256 SMs, got 257/],
    [() => plan(program, new Map(), virtual(2)), /lookup: not in the op table/],
    [
      () => plan(program, toyTable, virtual(2), { stages: 12 }),
      /12 stages must be more than the 6 chunks in flight and a multiple of the 8 consumer warps/,
    ],
    [
      () => plan(program, toyTable, virtual(2, { sharedBytes: 60_000 })),
      /60000 bytes of shared memory per SM hold no ring of 8 stages.*lower maxTokens/,
    ],
  ])("%#", (make, message) => {
    expect(make).toThrow(PlanError);
    expect(make).toThrow(message);
  });
});
