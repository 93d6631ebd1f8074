/**
 * @file What the proof rests on: with every number of tokens, tasks touch what their regions say and
 * nothing else. Regions are asked once, for the most tokens.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { runPasses } from "@mpk/ir";
import { scheduleTable, semanticsTable } from "@mpk/ops";
import { createVirtualGpu, plan, verify, virtual } from "@mpk/schedule";
import type { OpSchedule, Region, ScheduleTable, TaskContext } from "@mpk/schedule";
import { buildDecoder, decoderForms, randomWeights } from "./passes/decoder.ts";

/** Columns [lo, hi) that no region of an operand covers. */
function uncovered(regions: readonly Region[], index: number, lo: number, hi: number): boolean {
  const mine = regions.filter((r) => r.index === index).sort((a, b) => a.lo - b.lo);
  let at = lo;
  for (const region of mine) if (region.lo <= at) at = Math.max(at, region.hi);
  return at < hi;
}

/** The table with tasks that tell on reads and writes outside of their regions. */
function watched(tell: (what: string) => void): ScheduleTable {
  const watch = (entry: OpSchedule<unknown>): OpSchedule<unknown> => ({
    ...entry,
    *task(op, layout, ctx) {
      const { reads, writes, states } = entry.tiling.regions(op, ctx.tileLo, ctx.tileHi);
      const resident = new Set(entry.packing.resident(op));
      const isStep = (i: number): boolean => op.inputs[i]?.dtype === "i32";
      const own: TaskContext = {
        ...ctx,
        eval: {
          ...ctx.eval,
          state(id) {
            const state = ctx.eval.state(id);
            if (states.length === 0) tell(`${op.kind} touches a state`);
            const first = ctx.eval.inputs.positions[0] ?? 0;
            return {
              ...state, kvHeads: state.kvHeads, headDim: state.headDim,
              write(position, k, v, lo = 0) {
                const isOwn = states.some((s) =>
                  s.access === "write" && s.lo <= lo && lo + k.length <= s.hi);
                if (!isOwn || position < first) tell(`${op.kind} appends at ${position}`);
                state.write(position, k, v, lo);
              },
              k: (position) => state.k(position),
              v: (position) => state.v(position),
            };
          },
        },
        read(input, lo, hi) {
          const known = resident.has(input) || isStep(input);
          if (!known && uncovered(reads, input, lo, hi)) {
            tell(`${op.kind} reads columns ${lo}..${hi} of input ${input}, ${ctx.eval.tokens} tokens`);
          }
          return ctx.read(input, lo, hi);
        },
        write(output, lo, hi, data) {
          if (uncovered(writes, output, lo, hi)) {
            tell(`${op.kind} writes columns ${lo}..${hi}, ${ctx.eval.tokens} tokens`);
          }
          ctx.write(output, lo, hi, data);
        },
      };
      yield* entry.task(op, layout, own);
    },
  });
  return new Map([...scheduleTable].map(([kind, entry]) =>
    [kind, watch(entry as unknown as OpSchedule<unknown>) as never]));
}

it("tasks stay within their regions for every T up to the most, at every context length", () => {
  let steps = 0;
  fc.assert(
    fc.property(decoderForms, fc.integer({ min: 1, max: 5 }), fc.nat(), (form, sms, seed) => {
      const program = runPasses(
        buildDecoder({ ...form, vocabulary: form.vocabulary + 4, sample: true }), semanticsTable,
      );
      const told: string[] = [];
      const table = watched((what) => told.push(what));
      const made = plan(program, table, virtual(sms));
      expect(verify(made, table).ok).toBe(true);
      const { maxTokens, maxContext } = program.limits;
      for (let tokens = 1; tokens <= maxTokens; tokens++) {
        const weights = randomWeights(program, seed);
        const gpu = createVirtualGpu(made, table, { weights, precision: "f32", seed });
        // Until the context is full, so that the past has every length.
        for (let at = 0; at + tokens <= maxContext; at += tokens, steps++) {
          gpu.step({ ids: Array.from({ length: tokens }, (_, i) => (at + i) % 4) });
        }
      }
      expect(told).toEqual([]);
    }),
    { numRuns: 12 },
  );
  expect(steps).toBeGreaterThan(100);
});
