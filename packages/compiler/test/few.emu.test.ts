/** @file Linears in steps of two to eight tokens, run on the CPU, as the virtual GPU computes them. */
import { expect, test } from "vitest";
import { head, linear, linears, passed, writer } from "../../cuda/test/emitted/programs.ts";
import { prompt } from "./emulated-programs.ts";
import { expectSame, planOf } from "./emulated.ts";

const widest = (program: ReturnType<typeof linears>): number =>
  Math.max(...planOf({ program }).layouts.map((layout) => layout?.chunksPerTile ?? 0));

test("x in registers: each warp has its own chunks of K", async () => {
  const program = linears(8, 2048);
  expect(widest(program)).toBe(8);
  await expectSame({ program, sms: 1, promptIds: prompt(13), maxTokens: 2, scheduleSeed: 1 });
}, 120_000);

test.each([4096, 3072])("x in registers: more chunks than warps, no race: %i columns", async (columns) => {
  const program = linears(8, columns);
  await expectSame({
    program, sms: 2, promptIds: prompt(21), maxTokens: 2, scheduleSeed: 4, instrument: "races",
  });
}, 120_000);

test.each(["sm_90a", "sm_80"])("x loaded ahead: three chunks for eight warps, for %s", async (target) => {
  const program = linears(5, 600);
  expect(widest(program)).toBe(3);
  const promptIds = prompt(12);
  await expectSame({
    program, target, sms: 2, promptIds, maxTokens: 2, scheduleSeed: 2, instrument: "races",
  });
}, 120_000);

test("x loaded ahead: more chunks than registers hold", async () => {
  const program = linears(3, 6144);
  expect(widest(program)).toBe(24);
  await expectSame({ program, sms: 3, promptIds: prompt(5), maxTokens: 2, scheduleSeed: 3 });
}, 120_000);

const gated = (columns: number, out: number) => {
  const w = writer("gated", { maxTokens: 7, maxContext: 64 });
  const x = w.embed(300, out);
  const up = linear(w, "up", x, columns, { groups: 2, epilogue: "a0 * a1", out: "bf16" });
  return passed(head(w, linear(w, "down", up, out, { epilogue: "a0 + a1", extras: [x] }), 40));
};

test.each([6144, 4608])("rows that are fragments as they lie, the next chunk on its way: %i columns", async (columns) => {
  const program = gated(columns, 96);
  expect(widest(program)).toBe(columns / 256);
  await expectSame({
    program, sms: 2, promptIds: prompt(12), maxTokens: 2, scheduleSeed: 5, instrument: "races",
  });
}, 120_000);

test.each([
  ["sm_90a", 6144, 1, 48, "flag"], ["sm_80", 6144, 1, 48, "flag"], ["sm_90a", 8192, 1, 64, "counter"],
] as const)("pairs of tiles share slices of x, and odd ones are alone: %s, %i columns", async (
  target, columns, sms, out, protocol,
) => {
  const program = gated(columns, out);
  const planOptions = { protocol, pairs: true };
  const { layouts } = planOf({ program, sms, planOptions });
  const down = layouts.find((layout) => layout?.k === columns);
  expect(down).toMatchObject({ chunksPerSlice: 8, tilesPerGroup: 2, chunksPerTile: columns / 256 });
  await expectSame({
    program, target, sms, promptIds: prompt(12), maxTokens: 3, scheduleSeed: 6, instrument: "races",
    planOptions,
  });
}, 120_000);
