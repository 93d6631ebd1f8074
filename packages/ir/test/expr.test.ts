/** @file Expressions: float32 meaning, substitution, validation. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  argUses, compileExpr, evaluateExpr, exprFromJson, exprSize, exprToJson, maxArgIndex,
  substituteExpr, toBf16,
} from "../src/index.ts";
import type { Expr } from "../src/index.ts";
import { arbitraryExpr } from "./arbitraries.ts";

const arg = (index: number): Expr => ({ op: "arg", index });
const args = fc.array(fc.float(), { minLength: 3, maxLength: 3 });
const precision = fc.constantFrom("f32" as const, "bf16" as const);

describe("laws", () => {
  it("every result is a float32 number", () => {
    fc.assert(fc.property(arbitraryExpr(3), args, precision, (expr, values, p) => {
      const result = evaluateExpr(expr, values, p);
      expect(Math.fround(result)).toBe(result);
    }));
  });

  it("substituting then evaluating is evaluating the arguments first", () => {
    const inner = fc.array(arbitraryExpr(3), { minLength: 3, maxLength: 3 });
    fc.assert(fc.property(arbitraryExpr(3), inner, args, precision, (expr, parts, values, p) => {
      const direct = evaluateExpr(substituteExpr(expr, parts), values, p);
      expect(direct).toBe(evaluateExpr(expr, parts.map((e) => evaluateExpr(e, values, p)), p));
    }));
  });

  it("an expression survives being JSON text", () => {
    fc.assert(fc.property(arbitraryExpr(2), args, (expr, values) => {
      const again = exprFromJson(JSON.parse(JSON.stringify(exprToJson(expr))), 2);
      expect(again).toEqual(expr);
      expect(evaluateExpr(again, values, "f32")).toBe(evaluateExpr(expr, values, "f32"));
    }));
  });

  it("without bf16 precision, rounding to bf16 changes nothing", () => {
    fc.assert(fc.property(fc.float(), (x) => {
      const expr: Expr = { op: "round", to: "bf16", x: arg(0) };
      expect(evaluateExpr(expr, [x], "f32")).toBe(x);
      expect(evaluateExpr(expr, [x], "bf16")).toBe(toBf16(x));
    }));
  });
});

describe("examples", () => {
  it("computes silu of a gate times up", () => {
    const silu: Expr = { op: "mul", x: arg(0), y: { op: "sigmoid", x: arg(0) } };
    const gated: Expr = { op: "mul", x: silu, y: arg(1) };
    expect(compileExpr(gated, "f32")([2, 3])).toBeCloseTo((2 / (1 + Math.exp(-2))) * 3, 6);
    expect(maxArgIndex(gated)).toBe(1);
    expect(argUses(gated)).toEqual([2, 1]);
    expect(exprSize(gated)).toBe(6);
  });

  it.each([
    [0, 0], [0.1, 0.1124629160182849], [1, 0.8427007929497149], [-2, -0.9953222650189527],
    [3.5, 0.9999992569016276], [9, 1],
  ])("erf(%d) is %d", (x, expected) => {
    expect(evaluateExpr({ op: "erf", x: arg(0) }, [x], "f32")).toBe(
      Math.fround(evaluateExpr({ op: "const", value: expected }, [], "f32")),
    );
  });

  it("says what is wrong with an expression that is none", () => {
    expect(() => exprFromJson({ op: "add", x: { op: "arg", index: 0 }, y: { op: "sum" } }))
      .toThrow('expr.y.op: no expression is called "sum"');
    expect(() => exprFromJson({ op: "add", x: { op: "arg", index: 0 } }))
      .toThrow("expr.y: expected an expression object, got nothing");
    expect(() => exprFromJson({ op: "arg", index: 2 }, 2))
      .toThrow("expr uses argument 2, but there are only 2 operands");
    expect(() => substituteExpr(arg(1), [arg(0)])).toThrow("argument 1 is used, but only 1 are");
  });
});
