/** @file Numbers and expressions as C++ text. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Expr } from "@mpk/ir";
import { floatLiteral, printExpression } from "../src/index.ts";

const words = new Uint32Array(1);
const floats = new Float32Array(words.buffer);
const floatOf = (bits: number): number => {
  words[0] = bits;
  return floats[0] ?? Number.NaN;
};

/** The value of a literal, as C++ reads it. */
function readLiteral(text: string): number {
  const [, bits] = /^bits_to_f32\(0x([0-9a-f]{8})u\)$/.exec(text) ?? [];
  if (bits !== undefined) return floatOf(parseInt(bits, 16));
  // A point or an exponent, or C++ would refuse the suffix.
  expect(text).toMatch(/^-?(\d+\.\d+|\d+(\.\d+)?e[+-]\d+)f$/);
  return Math.fround(Number(text.slice(0, -1)));
}

describe("floatLiteral", () => {
  test("reads back as exactly the float32 that it was given, whatever its bits", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), (bits) => {
        expect(readLiteral(floatLiteral(floatOf(bits)))).toBe(floatOf(bits));
      }),
      { numRuns: 5000 },
    );
  });

  test("rounds a double to the nearest float32", () => {
    fc.assert(
      fc.property(fc.double(), (value) => {
        expect(readLiteral(floatLiteral(value))).toBe(Math.fround(value));
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    [0, "0.0f"], [-0, "-0.0f"], [1, "1.0f"], [-2, "-2.0f"], [0.1, "0.100000001f"],
    [1e-45, "1.40129846e-45f"], [2 ** -126, "1.17549435e-38f"],
    [3.4028234663852886e38, "3.40282347e+38f"], [1e21, "1.00000002e+21f"],
    [16777216, "16777216.0f"], [Infinity, "bits_to_f32(0x7f800000u)"],
    [1e39, "bits_to_f32(0x7f800000u)"], [-Infinity, "bits_to_f32(0xff800000u)"],
    [Number.NaN, "bits_to_f32(0x7fc00000u)"],
  ])("%d is %s", (value, text) => {
    expect(floatLiteral(value)).toBe(text);
  });
});

describe("printExpression", () => {
  const arg = (index: number): Expr => ({ op: "arg", index });
  const constant = (value: number): Expr => ({ op: "const", value });

  test("a gated product", () => {
    const silu: Expr = { op: "mul", x: arg(0), y: { op: "sigmoid", x: arg(0) } };
    const gated: Expr = { op: "mul", x: silu, y: arg(1) };
    expect(printExpression(gated, ["acc[0]", "acc[1]"]))
      .toBe("((acc[0] * m_sigmoid(acc[0])) * acc[1])");
  });

  test("a negated negative number is no decrement", () => {
    const twice: Expr = { op: "neg", x: { op: "neg", x: constant(-2) } };
    expect(printExpression(twice, [])).not.toContain("--");
    expect(printExpression({ op: "sub", x: arg(0), y: constant(-2) }, ["a"])).toBe("(a - -2.0f)");
  });

  test("an argument that is not there is refused", () => {
    expect(() => printExpression(arg(2), ["a", "b"])).toThrow(/argument 2 of 2/);
  });
});
