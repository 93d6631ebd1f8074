/** @file The text form of expressions and Programs. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ParseError, parseExpr, parseProgram, printExpr, printProgram } from "../src/index.ts";
import { arbitraryExpr, arbitraryProgram } from "./arbitraries.ts";
import { sampleProgram } from "./sample.ts";

describe("laws", () => {
  it("an expression reads back as it was", () => {
    fc.assert(fc.property(arbitraryExpr(12), (expr) => {
      expect(parseExpr(printExpr(expr))).toEqual(expr);
    }), { numRuns: 500 });
  });

  it("a program reads back as it was", () => {
    fc.assert(fc.property(arbitraryProgram, (program) => {
      expect(parseProgram(printProgram(program))).toEqual(program);
    }), { numRuns: 300 });
  });

  it("text is read or refused with a place in it, whatever it is", () => {
    const original = printProgram(sampleProgram());
    const cut = fc.nat(original.length);
    fc.assert(fc.property(cut, cut, fc.string({ maxLength: 3 }), (start, length, between) => {
      const text = original.slice(0, start) + between + original.slice(start + length);
      try {
        parseProgram(text);
      } catch (error) {
        expect(error).toBeInstanceOf(ParseError);
        expect((error as ParseError).line).toBeLessThanOrEqual(text.split("\n").length);
      }
    }), { numRuns: 500 });
  });
});

describe("expressions", () => {
  it.each([
    ["a0 * sigmoid(a0) * a1", "a0 * sigmoid(a0) * a1"],
    ["a0-(a1-a2)", "a0 - (a1 - a2)"],
    ["(a0-a1)-a2", "a0 - a1 - a2"],
    ["select(a0<0,-a0,1e-7)", "select(a0 < 0, neg(a0), 1e-7)"],
    ["bf16( a0 * -1 )", "bf16(a0 * -1)"],
    ["-0", "-0"],
  ])("%s prints as %s", (source, printed) => {
    expect(printExpr(parseExpr(source))).toBe(printed);
  });

  it.each([
    ["a0 +", '1:5: expected an expression, got the end'],
    ["a0 a1", '1:4: expected an operator or the end of the expression, got "a1"'],
    ["relu(a0)", '1:5: expected a function of 1 arguments, none is called relu, got "("'],
    ["min(a0", '1:7: expected ")", got the end'],
    ["x + 1", '1:3: expected "(" after x, or an argument such as a0, got "+"'],
  ])("%s is refused", (source, message) => {
    expect(() => parseExpr(source)).toThrow(message);
  });
});

describe("programs", () => {
  it("print one op a line", () => {
    expect(printProgram(sampleProgram())).toBe(`\
program "sample" (tokens <= 4, context <= 6)
weight %table: bf16 [5, 4] = "table"[5]
input %ids: i32 [T] = ids
state %kv: bf16 [2, 2, 2] = kv(kvHeads 2, headDim 2)
weight %w: f32 [3, 4] = "w.top"[1] + "w.bottom"[2]
weight %bias: f32 [3] = "bias"[3]
%lookup: f32 [T, 4] = lookup(%ids, %table) at "sample.ts":12:5
%y: f32 [T, 4] = remember(%lookup; %kv) in layers.0
%layers.0.matmul: f32 [T, 3] = matmul(%y, %w) in layers.0
%layers.0.map: f32 [T, 3] = map(%layers.0.matmul, %bias) {expr: \`a0 + a1\`} in layers.0
%publish: i32 [1] = publish(%layers.0.map)
output logits = %layers.0.map
output token = %publish
`);
  });

  it("may have comments and other spacing", () => {
    const text = printProgram(sampleProgram());
    const spaced = text.replaceAll(",", " // why\n  ,").replaceAll(" = ", "=");
    expect(parseProgram(spaced)).toEqual(sampleProgram());
  });

  it.each([
    ["", '1:1: expected "program", got the end'],
    ['program "p" (tokens <= 1, context <= x)', '1:38: expected a number, got "x"'],
    ['program "p" (tokens <= 1, context <= 1)\nweigth %w', "2:1: expected input, weight, state"],
    ['program "p" (tokens <= 1, context <= 1)\n%x: f16 [T]', "2:5: expected one of f32, bf16, i32"],
    [
      'program "p" (tokens <= 1, context <= 1)\n%x: f32 [T] = f(%y)',
      "2:17: expected a value that some line declares, got %y",
    ],
    [
      'program "p" (tokens <= 1, context <= 1)\n%x: f32 [T] = f() {e: `a0 *`}',
      "2:28: expected an expression, got the end",
    ],
  ])("say where text is wrong (%#)", (text, message) => {
    expect(() => parseProgram(text)).toThrow(message);
  });
});

it("what is nested deeper than a stack is refused by its place", () => {
  const program = (attrs: string) =>
    `program "p" (tokens <= 1, context <= 1)\ninput %i: i32 [T] = ids\n%x: f32 [T] = f(%i) ${attrs}`;
  const deep = 1e5;
  for (const attrs of [
    `{a: ${"[".repeat(deep)}`, `{a: ${"{a: ".repeat(deep)}`, `{a: \`${"(".repeat(deep)}\`}`,
    `{a: \`${"-".repeat(deep)}a0\`}`, `{a: \`${"exp(".repeat(deep)}\`}`,
  ]) {
    expect(() => parseProgram(program(attrs))).toThrow(/^3:\d+: expected at most \d+ brackets/);
  }
  expect(() => parseExpr(`a0${" + a0".repeat(deep)}`)).toThrow(/at most 1000 operators in a row/);
  const long = parseExpr(`a0${" + a0".repeat(1000)}`);
  expect(parseExpr(printExpr(long))).toEqual(long);
  const nested = parseExpr(`${"exp(".repeat(150)}a0${")".repeat(150)}`);
  expect(parseExpr(printExpr(nested))).toEqual(nested);
});
