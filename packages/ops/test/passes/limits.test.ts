/** @file Where a fold would change the result, or do work twice, the passes leave it. */
import { describe, expect, it } from "vitest";
import { exprFromJson, exprSize, parseProgram, runPasses, verifyProgram } from "@mpk/ir";
import type { Program } from "@mpk/ir";
import { semanticsTable } from "../../src/semantics.ts";
import { expectSameResults } from "./same.ts";

const linear = "{groups: 1, norm: null, round: null, lastRow: false, epilogue: `a0`, out: \"f32\"}";

/** x f32 [T, 8] is an embedding; w, u, o are bf16 [8, 8], g and h f32 [2], gain f32 [8]. */
function program(...lines: readonly string[]): Program {
  const used = (name: string): boolean => lines.some((line) => line.includes(`%${name}`));
  const weights = [
    ...["w", "u", "o"].filter(used).map((name) => `weight %${name}: bf16 [8, 8] = "${name}"[8]`),
    ...["g", "h"].filter(used).map((name) => `weight %${name}: f32 [2] = "${name}"[2]`),
    ...["gain", "bias"].filter(used).map((name) => `weight %${name}: f32 [8] = "${name}"[8]`),
  ];
  const parsed = parseProgram([
    'program "small" (tokens <= 4, context <= 16)',
    "input %ids: i32 [T] = ids",
    "input %positions: i32 [T] = positions",
    'weight %table: bf16 [11, 8] = "table"[11]',
    ...weights,
    ...(used("kv") ? ["state %kv: bf16 [2, 4, 2] = kv(kvHeads 4, headDim 2)"] : []),
    "%x: f32 [T, 8] = embedding(%ids, %table)",
    ...lines,
  ].join("\n"));
  expect(verifyProgram(parsed, semanticsTable)).toEqual([]);
  return parsed;
}

/** After all passes, results being the same: the ops by kind, with the attributes asked for. */
function after(before: Program, ...attrs: readonly string[]): readonly unknown[] {
  const passed = runPasses(before, semanticsTable);
  for (const seed of [1, 2, 3]) expectSameResults(before, passed, seed, [3, 1, 4, 1, 5, 9, 2]);
  return passed.ops.slice(1).map((op) =>
    (attrs.length > 0 ? [op.kind, ...attrs.map((key) => op.attrs[key])] : op.kind));
}

const attention = (q: string, k: string): string => {
  const sizes = "heads: 4, kvHeads: 4, headDim: 2, scale: 1";
  const attrs = `{${sizes}, window: null, qkNorm: null, rope: null}`;
  return `%y: f32 [T, 8] = attention(${q}, ${k}, %x, %positions; %kv) ${attrs}`;
};
const rope = (result: string, x: string, theta = 10000, positions = "%positions"): string => {
  const attrs = `headDim: 2, theta: ${theta}, scaling: {kind: "none"}`;
  return `${result}: f32 [T, 8] = rope(${x}, ${positions}) {${attrs}}`;
};
const norm = (result: string, gain: string, eps = "1e-5", width = 2): string =>
  `${result}: f32 [T, 8] = rmsNorm(%x, ${gain}) {eps: ${eps}, width: ${width}}`;

describe("prologues", () => {
  it("do not take a cast to the other side of a norm", () => {
    const before = program(
      "%n: f32 [T, 8] = rmsNorm(%x, %gain) {eps: 1e-5, width: 8}",
      '%c: bf16 [T, 8] = cast(%n) {to: "bf16"}',
      "%m: f32 [T, 8] = rmsNorm(%c, %gain) {eps: 1e-5, width: 8}",
      `%y: f32 [T, 8] = linear(%m, %w) ${linear}`,
      "output y = %y",
    );
    expect(after(before)).toEqual(["rmsNorm", "cast", "linear"]);
  });

  it("do not take norms of parts of a row", () => {
    const y = `%y: f32 [T, 8] = linear(%n, %w) ${linear}`;
    expect(after(program(norm("%n", "%g"), y, "output y = %y"))).toEqual(["rmsNorm", "linear"]);
  });

  it("of attention take rope only where q and k are turned alike, by its positions", () => {
    const ropes = (k: string): Program =>
      program(rope("%q", "%x"), k, attention("%q", "%k"), "output y = %y");
    expect(after(ropes(rope("%k", "%x")))).toEqual(["attention"]);
    expect(after(ropes(rope("%k", "%x", 500)))).toEqual(["rope", "rope", "attention"]);
    expect(after(ropes(rope("%k", "%x", 10000, "%ids")))).toEqual(["rope", "rope", "attention"]);
  });

  it("of attention take norms only of heads, and where q and k share eps", () => {
    const norms = (k: string): Program =>
      program(norm("%q", "%g"), k, attention("%q", "%k"), "output y = %y");
    expect(after(norms(norm("%k", "%h")))).toEqual(["attention"]);
    expect(after(norms(norm("%k", "%h", "1e-3")))).toEqual(["rmsNorm", "rmsNorm", "attention"]);
    expect(after(norms(norm("%k", "%gain", "1e-5", 8)))).toEqual([
      "rmsNorm", "rmsNorm", "attention",
    ]);
    const wide = program(
      norm("%q", "%gain", "1e-5", 8),
      norm("%k", "%bias", "1e-5", 8),
      attention("%q", "%k"),
      "output y = %y",
    );
    expect(after(wide)).toEqual(["rmsNorm", "rmsNorm", "attention"]);
  });
});

describe("epilogues", () => {
  it("do not take what others read too", () => {
    const before = program(
      `%a: f32 [T, 8] = linear(%x, %w) ${linear}`,
      '%b: f32 [T, 8] = pointwise(%a) {expr: `exp(a0)`, out: "f32"}',
      "output a = %a",
      "output b = %b",
    );
    expect(after(before)).toEqual(["linear", "pointwise"]);
  });

  it("belong to the last of two linears that are added", () => {
    const before = program(
      `%a: f32 [T, 8] = linear(%x, %w) ${linear}`,
      '%r: f32 [T, 8] = pointwise(%x) {expr: `tanh(a0)`, out: "f32"}',
      `%b: f32 [T, 8] = linear(%r, %u) ${linear}`,
      '%sum: f32 [T, 8] = pointwise(%a, %b) {expr: `a0 + a1`, out: "f32"}',
      "output sum = %sum",
    );
    const passed = runPasses(before, semanticsTable);
    const names = passed.ops.at(-1)?.inputs.map((id) => passed.values[id]?.name);
    expect(names).toEqual(["r", "u", "a"]);
    expect(after(before)).toEqual(["linear", "pointwise", "linear"]);
  });

  it("stay small: a chain of squares is not written out in full", () => {
    const square = '{expr: `a0 * a0 + a0`, out: "f32"}';
    const chain = Array.from({ length: 12 }, (_, i) =>
      `%s${i + 1}: f32 [T, 8] = pointwise(%s${i}) ${square}`);
    const first = '%s0: f32 [T, 8] = pointwise(%x) {expr: `a0 * 0.1`, out: "f32"}';
    const passed = runPasses(program(first, ...chain, "output y = %s12"), semanticsTable);
    for (const op of passed.ops.slice(1)) {
      expect(exprSize(exprFromJson(op.attrs["expr"]))).toBeLessThanOrEqual(256);
    }
  });
});

describe("merges", () => {
  it("of projections stop where what follows differs", () => {
    const before = program(
      `%a: f32 [T, 8] = linear(%x, %w) ${linear}`,
      '%a2: f32 [T, 8] = pointwise(%a) {expr: `exp(a0)`, out: "f32"}',
      `%b: f32 [T, 8] = linear(%x, %u) ${linear}`,
      '%b2: f32 [T, 8] = pointwise(%b) {expr: `tanh(a0)`, out: "f32"}',
      "output a = %a2",
      "output b = %b2",
    );
    expect(after(before)).toEqual(["linear", "slice", "slice", "pointwise", "pointwise"]);
  });

  it("of projections keep those without a bias apart", () => {
    const before = program(
      `%a: f32 [T, 8] = linear(%x, %w) ${linear}`,
      '%a2: f32 [T, 8] = pointwise(%a, %bias) {expr: `a0 + a1`, out: "f32"}',
      `%b: f32 [T, 8] = linear(%x, %u) ${linear}`,
      `%c: f32 [T, 8] = linear(%x, %o) ${linear}`,
      "output a = %a2",
      "output b = %b",
      "output c = %c",
    );
    expect(after(before, "groups")).toEqual([
      ["linear", 1], ["linear", 1], ["slice", undefined], ["slice", undefined],
    ]);
  });

  it("of a gated product need one x", () => {
    const before = program(
      '%r: f32 [T, 8] = pointwise(%x) {expr: `tanh(a0)`, out: "f32"}',
      `%a: f32 [T, 8] = linear(%x, %w) ${linear}`,
      `%b: f32 [T, 8] = linear(%r, %u) ${linear}`,
      '%y: f32 [T, 8] = pointwise(%a, %b) {expr: `a0 * a1`, out: "f32"}',
      "output y = %y",
    );
    expect(after(before, "groups")).toEqual([
      ["pointwise", undefined], ["linear", 1], ["linear", 1],
    ]);
  });
});

describe("the last row", () => {
  it("of a linear that is read in full stays a view", () => {
    const before = program(
      `%a: f32 [T, 8] = linear(%x, %w) ${linear}`,
      "%l: f32 [1, 8] = lastRow(%a)",
      "output all = %a",
      "output last = %l",
    );
    expect(after(before, "lastRow")).toEqual([["linear", false], ["lastRow", undefined]]);
  });

  it("of a residual sum is computed from last rows", () => {
    const before = program(
      `%a: f32 [T, 8] = linear(%x, %w) ${linear}`,
      '%s: f32 [T, 8] = pointwise(%x, %a) {expr: `a0 + a1`, out: "f32"}',
      "%l: f32 [1, 8] = lastRow(%s)",
      "output last = %l",
    );
    expect(after(before, "lastRow")).toEqual([["lastRow", undefined], ["linear", true]]);
  });
});
