/** @file Linears with tiles folded along K, run on the CPU, as the virtual GPU computes them. */
import { describe, expect, test } from "vitest";
import {
  head, linear, linears, passed, writer,
} from "../../cuda/test/emitted/programs.ts";
import { decoder, paths, prompt } from "./emulated-programs.ts";
import { expectSame, planOf, type EmulatedCase } from "./emulated.ts";

/** How many linears have so many folds. */
const foldedTo = (c: EmulatedCase, folds: number): number =>
  planOf(c).layouts.filter((layout) => layout?.folds === folds).length;

describe.each([2, 4] as const)("%i folds", (folds) => {
  test.each(["flag", "counter"] as const)("groups, norms, extras, odd sizes, by %s", async (protocol) => {
    const planOptions = { protocol, folds };
    const common = { program: linears(8, 96), sms: 3, planOptions, maxTokens: 2 } as const;
    expect(foldedTo(common, folds)).toBeGreaterThan(5);
    await expectSame({ ...common, promptIds: prompt(13), scheduleSeed: 1, instrument: "races" });
    await expectSame({ ...common, promptIds: [3], scheduleSeed: 2 });
  }, 120_000);

  test.each(paths)("a decoder's steps of several tokens and of one, for %s", async (target) => {
    const planOptions = { protocol: "flag", folds } as const;
    const common = { program: decoder(5, 32), target, sms: 4, planOptions } as const;
    await expectSame({ ...common, promptIds: prompt(11), maxTokens: 4, scheduleSeed: 3 });
  }, 120_000);

  test("x in registers: each warp has its own chunks of K", async () => {
    const common = { program: linears(8, 4096), planOptions: { folds } } as const;
    await expectSame({
      ...common, sms: 2, promptIds: prompt(13), maxTokens: 2, scheduleSeed: 4, instrument: "races",
    });
  }, 120_000);

  test("x loaded ahead: more chunks than registers hold", async () => {
    const common = { program: linears(3, 6144), planOptions: { folds } } as const;
    await expectSame({ ...common, sms: 3, promptIds: prompt(5), maxTokens: 2, scheduleSeed: 3 });
  }, 120_000);

  test("rows that are fragments as they lie, the next chunk on its way", async () => {
    const w = writer("gated", { maxTokens: 7, maxContext: 64 });
    const x = w.embed(300, 96);
    const gated = linear(w, "up", x, 1536, { groups: 2, epilogue: "a0 * a1", out: "bf16" });
    const down = linear(w, "down", gated, 96, { epilogue: "a0 + a1", extras: [x] });
    const program = passed(head(w, down, 40));
    const planOptions = { protocol: "flag", folds } as const;
    await expectSame({
      program, planOptions, sms: 2, promptIds: prompt(12), maxTokens: 2, scheduleSeed: 5,
      instrument: "races",
    });
  }, 120_000);

  test("x of one token in slices", async () => {
    const planOptions = { folds, reserveBytes: 156_000, stages: 8 };
    const c = { program: linears(3, 6144), planOptions, sms: 2 };
    const layouts = planOf(c).layouts.flatMap((layout) => layout ?? []);
    expect(layouts.some((of) => of.chunksPerSlice < of.chunksPerTile)).toBe(true);
    await expectSame({ ...c, promptIds: [3, 5], maxTokens: 2, scheduleSeed: 6 });
  }, 120_000);
});

test.each([[1, 24], [2, 16], [3, 8]])("x in six warps' registers (%i), all of %i stages", async (seed, stages) => {
  const planOptions = { protocol: "flag", folds: 2, stages } as const;
  const c = { program: linears(8, 3072), planOptions, sms: 2 };
  const chunks = planOf(c).layouts.flatMap((layout) => layout?.chunksPerTile ?? []);
  expect(chunks).toContain(6);
  await expectSame({
    ...c, promptIds: prompt(13), maxTokens: 2, scheduleSeed: seed, instrument: "races",
  });
}, 120_000);

test("few tiles are folded where that leaves the busiest SM less than a ring holds, with flags", async () => {
  const common = { program: linears(8, 512), sms: 4, maxTokens: 3 } as const;
  const chosen = { ...common, planOptions: { protocol: "flag", stages: 8, stageBytes: 1024 } } as const;
  expect(foldedTo(chosen, 2)).toBeGreaterThan(0);
  expect(foldedTo({ ...common, planOptions: { protocol: "flag" } }, 1)).toBe(foldedTo(common, 1));
  expect(foldedTo({ ...common, planOptions: { protocol: "counter" } }, 1)).toBe(foldedTo(common, 1));
  for (const promptIds of [[5], prompt(7)]) {
    await expectSame({ ...chosen, promptIds, scheduleSeed: 1, instrument: "races" });
  }
});
