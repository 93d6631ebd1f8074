/** @file Where everything lies: no overlap, nothing left out, every address leads back. */
import { dtypeBytes, type Dim, type Value } from "@mpk/ir";
import type { Placement, Plan } from "@mpk/schedule";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { layoutMemory } from "../src/memory.ts";
import { operandWords } from "../src/encode.ts";
import { bodyOperand, columnsOf, wordUnitBytes } from "../src/operands.ts";
import { decoderPlans, emitReal } from "./emitted/decoders.ts";
import { tasksOf } from "./emitted/source.ts";
import { emitToy, toyPlans } from "./emitted/toy.ts";

const anyPlan = fc.oneof(decoderPlans, toyPlans({ maxOps: 10 }));
const options = { numRuns: 40 };

interface Range {
  readonly lo: number;
  readonly hi: number;
}

/** Sorted ranges touch at most, and end within `bytes`. */
function expectDisjoint(ranges: readonly Range[], bytes: number): void {
  const sorted = ranges.toSorted((a, b) => a.lo - b.lo);
  sorted.forEach(({ lo, hi }, i) => {
    expect(lo).toBeGreaterThanOrEqual(sorted[i - 1]?.hi ?? 0);
    expect(hi).toBeLessThanOrEqual(bytes);
  });
}

const sizeOf = (plan: Plan, value: number): number => {
  const { shape, dtype } = plan.program.values[value]!.type;
  return shape.reduce<number>((n, dim) => n * (dim === "T" ? 1 : dim), dtypeBytes[dtype]);
};

describe("the packed image", () => {
  test("pack entries cover each SM's stream once, and no other byte", () => {
    fc.assert(
      fc.property(anyPlan, (plan) => {
        const { pack, streamBase, streamBytes } = layoutMemory(plan);
        const chunks = pack.flatMap((entry) => {
          const bytes = entry.blocksPerChunk * 1024 * entry.chunksPerTile;
          return Array.from({ length: entry.tasks.length / 4 }, (_, i) => {
            const [at = 0, tileLo = 0, tileHi = 0, zero] = entry.tasks.slice(4 * i, 4 * i + 4);
            expect(zero).toBe(0);
            return { lo: at * 128, hi: at * 128 + bytes * (tileHi - tileLo), op: entry.op };
          });
        });
        expectDisjoint(chunks, streamBytes);
        const segments = plan.streams.flatMap((own, sm) =>
          own.map((segment) => {
            const lo = streamBase[sm]! + segment.offsetBytes;
            const hi = lo + segment.chunks * segment.chunkBytes;
            return { lo, hi, op: plan.tasks.op[segment.task]! };
          }),
        );
        const byStart = (a: Range, b: Range): number => a.lo - b.lo;
        expect(chunks.toSorted(byStart)).toEqual(segments.toSorted(byStart));
      }),
      options,
    );
  });

  test("an entry's tasks are all tiles of its op, its parts the op's weights", () => {
    fc.assert(
      fc.property(anyPlan, (plan) => {
        for (const entry of layoutMemory(plan).pack) {
          const groups = entry.groups.length;
          const tiles = Math.ceil(entry.n / (16 / groups / entry.folds));
          const seen = new Uint8Array(tiles);
          for (let i = 0; i < entry.tasks.length; i += 4) {
            for (let tile = entry.tasks[i + 1]!; tile < entry.tasks[i + 2]!; tile++) seen[tile]!++;
          }
          expect(seen.every((times) => times === 1)).toBe(true);
          for (const { parts } of entry.groups) {
            expect(parts.reduce((rows, part) => rows + part.rows, 0)).toBe(entry.n);
            expect(parts.every(({ columns }) => columns === entry.k)).toBe(true);
          }
        }
      }),
      options,
    );
  });
});

describe("resident weights", () => {
  test("do not overlap, are aligned, and their parts fill them", () => {
    fc.assert(
      fc.property(anyPlan, (plan) => {
        const { residentEntries, residentBytes } = layoutMemory(plan);
        const ranges = residentEntries.map(({ offsetBytes, bytes }) => {
          return { lo: offsetBytes, hi: offsetBytes + bytes };
        });
        expectDisjoint(ranges, residentBytes);
        for (const { value, offsetBytes, bytes, parts } of residentEntries) {
          expect(offsetBytes % 256).toBe(0);
          const { type } = plan.program.values.find(({ name }) => name === value)!;
          const elements = parts.reduce((n, part) => n + part.rows * part.columns, 0);
          expect(bytes).toBe(elements * dtypeBytes[type.dtype]);
        }
      }),
      options,
    );
  });

  test("are the weights that some op reads and does not stream", () => {
    fc.assert(
      fc.property(anyPlan, (plan) => {
        const { program, layouts } = plan;
        const read = program.ops.flatMap((op, i) =>
          op.inputs.filter((id, at) => {
            const streams = layouts[i]?.weights.includes(at) ?? false;
            return program.values[id]!.origin.kind === "weight" && !streams;
          }),
        );
        const names = new Set(read.map((id) => program.values[id]!.name));
        const placed = layoutMemory(plan).residentEntries.map(({ value }) => value);
        expect(new Set(placed)).toEqual(names);
      }),
      options,
    );
  });
});

test("KV pools do not overlap and hold every page", () => {
  fc.assert(
    fc.property(anyPlan, (plan) => {
      const { state, kvBytes } = layoutMemory(plan);
      const ranges = plan.program.states.map(({ value, kvHeads, headDim }) => {
        const lo = state.get(value)!;
        expect(lo % wordUnitBytes.state).toBe(0);
        return { lo, hi: lo + plan.pages * plan.pageTokens * 2 * kvHeads * headDim * 2 };
      });
      expectDisjoint(ranges, kvBytes);
    }),
    options,
  );
});

/** Byte in the arena of an operand's element, by the Plan's placements alone. */
function plannedByte(
  plan: Plan, id: number, row: number, column: number, tokens: number,
): number {
  const placement = plan.placements[id]!;
  if (placement.kind === "view") {
    const from = placement.lastRow ? tokens - 1 : row;
    return plannedByte(plan, placement.of, from, column + placement.column, tokens);
  }
  const { type } = plan.program.values[id]!;
  const at = (row * columnsOf(type) + column) * dtypeBytes[type.dtype];
  if (placement.kind === "scratch") return placement.offsetBytes + at;
  return layoutMemory(plan).resident.get(id)! + at;
}

/** The same, as a body computes it from the address word and what its constants say. */
function emittedByte(
  plan: Plan, id: number, word: number, row: number, column: number, tokens: number,
): number {
  const operand = bodyOperand(plan, id, 0, false);
  const unit = operand.arena === "scratch" ? wordUnitBytes.scratch : wordUnitBytes.resident;
  const line = operand.lastRow ? tokens - 1 : row;
  return word * unit + (line * operand.stride + column) * dtypeBytes[operand.dtype];
}

describe("operand words", () => {
  test("lead to the bytes of the Plan's placement, element by element", () => {
    const place = fc.tuple(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 4 }));
    fc.assert(
      fc.property(anyPlan, fc.infiniteStream(place), (plan, places) => {
        const arenas = layoutMemory(plan);
        plan.program.ops.forEach((op, i) => {
          const words = operandWords(plan, i, arenas);
          [...op.inputs, ...op.outputs].forEach((id, at) => {
            const { type, origin } = plan.program.values[id]!;
            if (origin.kind === "input" || plan.layouts[i]?.weights.includes(at)) return;
            const [r = 0, c = 0, wanted = 1] = places.next().value ?? [];
            const tokens = Math.min(wanted, plan.program.limits.maxTokens);
            const rows = type.shape[0] === "T" ? tokens : sizeOf(plan, id) /
              columnsOf(type) / dtypeBytes[type.dtype];
            const [row, column] = [r % rows, c % columnsOf(type)];
            const byte = emittedByte(plan, id, words[at]!, row, column, tokens);
            expect(byte).toBe(plannedByte(plan, id, row, column, tokens));
            const view = plan.placements[id]!.kind === "view";
            if (!view && origin.kind === "op") {
              expect(byte).toBeLessThan(plan.scratchBytes);
            }
          });
          op.states.forEach((id, s) => {
            const word = words[op.inputs.length + op.outputs.length + s]!;
            expect(word * wordUnitBytes.state).toBe(arenas.state.get(id));
          });
        });
      }),
      options,
    );
  });

  test("follow views of views", () => {
    const value = (id: number, columns: number, rows: Dim = "T"): Value => ({
      id, name: `v${id}`, type: { dtype: "bf16", shape: [rows, columns] }, origin: { kind: "op" },
    });
    const values = [value(0, 100), value(1, 40), value(2, 10, 1)];
    const placements: Placement[] = [
      { kind: "scratch", offsetBytes: 512, bytes: 800 },
      { kind: "view", of: 0, column: 30, lastRow: false },
      { kind: "view", of: 1, column: 5, lastRow: true },
    ];
    const [made] = fc.sample(toyPlans(), 1);
    const plan: Plan = { ...made!, placements, program: { ...made!.program, values } };
    const ops = [{ ...made!.program.ops[0]!, inputs: [2], outputs: [], states: [] }];
    const arenas = { resident: new Map(), state: new Map() };
    const words = operandWords({ ...plan, program: { ...plan.program, ops } }, 0, arenas);
    expect(words[0]! * wordUnitBytes.scratch).toBe(512 + 35 * 2);
    expect(bodyOperand(plan, 2, 0, false)).toMatchObject({
      columns: 10, stride: 100, column: 35, rows: 1, lastRow: true,
    });
  });

  test("are those of the emitted instructions", () => {
    const check = (plan: Plan, source: string): void => {
      const arenas = layoutMemory(plan);
      for (const { op, operands } of [...tasksOf(source)].flat()) {
        expect(operands).toEqual(Array.from(operandWords(plan, op, arenas)));
      }
    };
    fc.assert(fc.property(decoderPlans, (plan) => check(plan, emitReal(plan).source)), options);
    fc.assert(fc.property(toyPlans(), (plan) => check(plan, emitToy(plan).source)), options);
  });
});

test("the Manifest says how large each arena is", () => {
  fc.assert(
    fc.property(decoderPlans, (plan) => {
      const { manifest } = emitReal(plan);
      const layout = layoutMemory(plan);
      const { streamBytes, residentBytes, kvBytes } = layout;
      expect(manifest.memory).toMatchObject({
        streamBytes, residentBytes, kvBytes, scratchBytes: plan.scratchBytes, pages: plan.pages,
      });
      expect(manifest.pack).toEqual(layout.pack);
      expect(manifest.resident).toEqual(layout.residentEntries);
      expect(manifest.ops.map((op) => op.kind)).toEqual(plan.program.ops.map((op) => op.kind));
      expect(JSON.parse(JSON.stringify(manifest))).toEqual(manifest);
    }),
    options,
  );
});
