/** @file Laws that every op of the table keeps, on random instances. */
import { bindShape, ShapeError } from "@mpk/ir";
import type { Precision } from "@mpk/ir";
import { scheduleTable, semanticsTable } from "@mpk/ops";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { benchOf, matrix, reference, scheduled } from "./bench.ts";
import { caseTable } from "./cases.ts";

const precisions: fc.Arbitrary<Precision> = fc.constantFrom("f32", "bf16");
const options = { numRuns: 60 };

/**
 * Equal but for what the order of float64 sums may change: nothing for most ops, the last bit of
 * float32 for a linear, which an explicit rounding may turn into one of bf16.
 */
function expectClose(
  got: ArrayLike<number>,
  expected: ArrayLike<number>,
  name: string,
  precision: Precision,
): void {
  const relative = name !== "linear" ? 0 : precision === "bf16" ? 2 ** -7 : 1e-5;
  expect(got.length).toBe(expected.length);
  for (let i = 0; i < got.length; i++) {
    const [a, b] = [got[i]!, expected[i]!];
    if (Object.is(a, b) || Math.abs(a - b) <= relative * (1 + Math.abs(b))) continue;
    expect.fail(`${name}: element ${i} is ${a}, the reference gives ${b}`);
  }
}

it("has random instances of every op, under both projections", () => {
  expect([...scheduleTable.keys()].sort()).toEqual(Object.keys(caseTable).sort());
  expect([...semanticsTable.keys()]).toEqual([...scheduleTable.keys()]);
});

describe.each([...scheduleTable])("%s", (name, schedule) => {
  const instances = caseTable[name]!;

  it("infers the shape that its reference gives", () => {
    fc.assert(
      fc.property(instances, precisions, (own, precision) => {
        const bench = benchOf(schedule, own, precision);
        const results = reference(bench);
        expect(results.map(({ type }) => type)).toEqual(bench.op.outputs);
        for (const { type, shape, data } of results) {
          expect(shape).toEqual(bindShape(type.shape, own.tokens));
          expect(data instanceof Int32Array).toBe(type.dtype === "i32");
        }
      }),
      options,
    );
  });

  it("covers its output, and what it appends to a state, with tiles exactly once", () => {
    fc.assert(
      fc.property(instances, (own) => {
        const { op } = benchOf(schedule, own, "f32");
        const { tiling, packing } = schedule;
        const tiles = tiling.tiles(op);
        expect(tiling.view(op) === null).toBe(tiles > 0);
        if (tiles === 0) return;
        const written = new Uint8Array(matrix(op.outputs[0]!, own.tokens).columns);
        const appended = new Uint8Array((own.kv?.kvHeads ?? 0) * (own.kv?.headDim ?? 0));
        const apart = [...packing.resident(op), ...(packing.stream(op, roomy)?.weights ?? [])];
        for (let tile = 0; tile < tiles; tile++) {
          const { reads, writes, states } = tiling.regions(op, tile, tile + 1);
          for (const { access, lo, hi } of states) {
            if (access === "write") for (let c = lo; c < hi; c++) appended[c]!++;
          }
          for (const { lo, hi } of writes) for (let c = lo; c < hi; c++) written[c]!++;
          for (const { index, lo, hi } of reads) {
            expect(apart).not.toContain(index);
            const { columns } = matrix(op.inputs[index]!, own.tokens);
            expect(0 <= lo && lo < hi && hi <= columns).toBe(true);
          }
        }
        expect(written.every((times) => times === 1)).toBe(true);
        expect(appended.every((times) => times === 1)).toBe(true);
        const [whole] = tiling.regions(op, 0, tiles).writes;
        expect(whole).toMatchObject({ lo: 0, hi: written.length });
      }),
      options,
    );
  });

  it("gives the reference result from its tasks in any interleaving, or is a view of it", () => {
    fc.assert(
      fc.property(instances, precisions, (own, precision) => {
        const [bench, other] = [1, 2].map(() => benchOf(schedule, own, precision));
        const [result] = reference(bench!);
        const offset = schedule.tiling.view(bench!.op);
        if (offset === null) {
          expectClose(scheduled(other!), result!.data, name, precision);
          if (bench!.state !== null) {
            for (let p = 0; p < own.past + own.tokens; p++) {
              expect(other!.state?.k(p)).toEqual(bench!.state.k(p));
              expect(other!.state?.v(p)).toEqual(bench!.state.v(p));
            }
          }
          return;
        }
        const input = bench!.inputs[0]!;
        const from = matrix(input.type, own.tokens);
        const to = matrix(result!.type, own.tokens);
        const viewed = result!.data.map((_, i) => {
          const row = offset.lastRow ? from.rows - 1 : Math.floor(i / to.columns);
          return input.data[row * from.columns + offset.column + (i % to.columns)]!;
        });
        expect(result!.data).toEqual(viewed);
      }),
      options,
    );
  });

  it("refuses attributes that it does not know, and each that is missing", () => {
    fc.assert(
      fc.property(instances, ({ attrs }) => {
        const { semantics } = schedule;
        const message = /attribute surprise: unknown/;
        expect(() => semantics.parseAttrs({ ...attrs, surprise: 1 })).toThrow(message);
        for (const key of Object.keys(attrs)) {
          const { [key]: _, ...rest } = attrs;
          expect(() => semantics.parseAttrs(rest)).toThrow(ShapeError);
          expect(() => semantics.parseAttrs(rest)).toThrow(`attribute ${key}`);
        }
      }),
      { numRuns: 5 },
    );
  });

  it("refuses inputs too few, and inputs of rank 0", () => {
    fc.assert(
      fc.property(instances, ({ attrs, inputs }) => {
        const { semantics } = schedule;
        const own = semantics.parseAttrs(attrs);
        expect(() => semantics.infer(own, [])).toThrow(ShapeError);
        const flat = inputs.map(({ dtype }) => ({ dtype, shape: [] }));
        expect(() => semantics.infer(own, flat)).toThrow(ShapeError);
      }),
      { numRuns: 5 },
    );
  });
});

const roomy = {
  activationBytes: 2 ** 20,
  partialBytes: 2 ** 20,
  chunkBytes: 8192,
  consumerWarps: 8,
  stages: 16,
};
