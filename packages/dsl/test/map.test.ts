/** @file `map`: the same arrow function as JavaScript and as an expression. */
import { compileExpr, createInterpreter } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops/semantics";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { defineModel, parseMapFunction } from "@mpk/dsl";

type Fn = (...args: number[]) => number;

const names = ["x", "y", "z"] as const;

/** Each operation rounded, as a kernel rounds it. */
const rounded = (text: string): string => `Math.fround(${text})`;

/** Source text of float32 arithmetic whose values stay finite for arguments within ±4. */
const source = fc.letrec<{ number: string; condition: string }>((tie) => ({
  number: fc.oneof(
    { maxDepth: 4, depthIdentifier: "e" },
    fc.constantFrom(...names),
    fc.double({ min: -4, max: 4, noNaN: true }).map((v) => `(${rounded(String(v))})`),
    fc.tuple(tie("number"), fc.constantFrom("+", "-", "*"), tie("number"))
      .map(([a, op, b]) => rounded(`${a} ${op} ${b}`)),
    fc.tuple(tie("number"), tie("number"))
      .map(([a, b]) => rounded(`${a} / ${rounded(`1 + Math.abs(${b})`)}`)),
    fc.tuple(fc.constantFrom("abs", "tanh", "sin", "cos", "floor", "ceil"), tie("number"))
      .map(([f, a]) => rounded(`Math.${f}(${a})`)),
    tie("number").map((a) => rounded(`Math.exp(Math.min(${a}, 4))`)),
    tie("number").map((a) => rounded(`Math.log(${rounded(`1 + Math.abs(${a})`)})`)),
    tie("number").map((a) => rounded(`Math.sqrt(Math.abs(${a}))`)),
    fc.tuple(tie("number"), fc.constantFrom("-2", "0.5", "3"))
      .map(([a, k]) => rounded(`Math.pow(${rounded(`1 + Math.min(Math.abs(${a}), 8)`)}, ${k})`)),
    fc.tuple(fc.constantFrom("min", "max"), tie("number"), tie("number"))
      .map(([f, a, b]) => `Math.${f}(${a}, ${b})`),
    tie("number").map((a) => `(-${a})`),
    fc.tuple(tie("condition"), tie("number"), tie("number"))
      .map(([c, a, b]) => `(${c} ? ${a} : ${b})`),
  ),
  condition: fc.oneof(
    { maxDepth: 4, depthIdentifier: "e" },
    fc.tuple(tie("number"), fc.constantFrom("<", "<=", ">", ">=", "===", "!=="), tie("number"))
      .map(([a, op, b]) => `${a} ${op} ${b}`),
    fc.tuple(tie("condition"), fc.constantFrom("&&", "||"), tie("condition"))
      .map(([a, op, b]) => `(${a}) ${op} (${b})`),
    tie("condition").map((a) => `!(${a})`),
  ),
})).number;

const args = fc.tuple(...names.map(() => fc.float({ min: -4, max: 4, noNaN: true })));

/** The JavaScript function of a source text; the text comes from the generator above. */
// oxlint-disable-next-line typescript/no-implied-eval, typescript/no-unsafe-return
const evaluate = (text: string): Fn => new Function(`return (${text});`)() as Fn;

const refusal = (fn: Fn | string): string => {
  try {
    parseMapFunction(String(fn));
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  throw new Error("the function was accepted");
};

describe("map", () => {
  it("gives bit for bit what the JavaScript function gives, each operation rounded", () => {
    fc.assert(fc.property(source, fc.array(args, { minLength: 1, maxLength: 8 }), (body, rows) => {
      const text = `(${names.join(", ")}) => ${body}`;
      const [js, expr] = [evaluate(text), compileExpr(parseMapFunction(text).expr, "f32")];
      for (const row of rows) expect(expr(row)).toBe(js(...row));
    }), { numRuns: 300 });
  });

  it("means the same with its parts in const locals", () => {
    fc.assert(fc.property(source, source, source, args, (a, b, body, row) => {
      const inner = body.replaceAll(/\bx\b/g, "a").replaceAll(/\by\b/g, "b");
      const located = `(x, y, z) => { const a = ${a}; const b = ${b}; return ${inner}; }`;
      const expr = compileExpr(parseMapFunction(located).expr, "f32");
      expect(expr(row)).toBe(evaluate(located)(...row));
    }), { numRuns: 50 });
  });

  it("is within float32 of the function as one would write it", () => {
    const softplus: Fn = (x) => Math.max(x, 0) + Math.log(1 + Math.exp(-Math.abs(x)));
    const mish: Fn = (x) => {
      const soft = Math.log(1 + Math.exp(x));
      return x * Math.tanh(soft);
    };
    const clipped: Fn = (x, limit) => (x > limit ? limit : x < -limit ? -limit : x ** 2 / Math.PI);
    for (const fn of [softplus, mish, clipped]) {
      const expr = compileExpr(parseMapFunction(String(fn)).expr, "f32");
      fc.assert(fc.property(args, (row) => {
        const want = fn(...row);
        expect(Math.abs(expr(row) - want)).toBeLessThanOrEqual(1e-6 * (1 + Math.abs(want)));
      }));
    }
  });

  it("reads numbers in all their spellings", () => {
    const text = "(x) => x * 0x10 + 1_000 + 2.5e-1 + .5 + 1e3 + 0b11 - +7";
    const { expr } = parseMapFunction(text);
    expect(compileExpr(expr, "f32")([1])).toBe(evaluate(text)(1));
  });

  it("gives the interpreter the same function, with broadcast operands", () => {
    const program = defineModel({ name: "map", limits: { maxTokens: 3, maxContext: 8 } }, (m) => {
      const x = m.weight("table", [5, 4]).lookup(m.ids());
      const limit = m.weight("limit", [4]);
      return { y: x.map((v, top) => Math.min(v, top) * 2, limit) };
    });
    const table = Float32Array.from({ length: 20 }, (_, i) => i);
    const limit = Float32Array.from([3, 9, 2, 100]);
    const run = createInterpreter(program, semanticsTable, {
      precision: "f32",
      weights: (name) => name === "table" ? { data: table, shape: [5, 4] }
        : { data: limit, shape: [4] },
    });
    const { y } = run.step({ ids: [2, 0] }).outputs;
    expect([...(y?.data ?? [])]).toEqual([6, 18, 4, 22, 0, 2, 4, 6]);
  });
});

describe("map refuses", () => {
  const eps = 1e-5;
  const cases: readonly (readonly [Fn | string, string])[] = [
    [(x) => x + eps, "`eps` (line 1, column 12 of the function): is captured from outside"],
    [(x) => Math.cbrt(x), "`Math.cbrt` (line 1, column 8 of the function): this function of Math"],
    ["(x) => foo(x)", "`foo` (line 1, column 8 of the function): only functions of Math"],
    ["(x) => x % 2", "`%` (line 1, column 10 of the function): this operator is not supported"],
    ["(x) => x > 0", "`x > 0` (line 1, column 8 of the function): gives a condition"],
    ["(x) => x ? 1 : 0", "`x` (line 1, column 8 of the function): is a number, a condition"],
    ["(x) => (x > 0) * 2", "is a condition, a number is needed"],
    ["(x) => 1e39 * x", "`1e39` (line 1, column 8 of the function): is not a finite float32"],
    ["(x) => x * Infinity", "`Infinity` (line 1, column 12 of the function): is not a finite"],
    ["(x) => Math.random()", "`Math.random`"],
    ["(x) => Math.exp()", "Math.exp takes 1 argument, got 0"],
    ["(x) => Math?.PI * x", "`Math?.PI`"],
    ["(Math) => Math.exp(Math)", "only functions of Math can be called"],
    ["(x) => { let y = x; return y; }", "declare it with const"],
    ["(x) => {\n  if (x > 0) return 1;\n  return 0;\n}", "(line 2, column 3 of the function)"],
    ["(x) => { {} return x; }", "only const locals and one return are accepted"],
    ["(x) => { const y = x; }", "returns nothing"],
    ["(x) => { const { y } = x; return y; }", "destructuring is not accepted"],
    ["(x) => (x = 3)", "this operator is not supported"],
    ["(x) => x++", "a PostfixUnaryExpression is outside what map accepts"],
    ["(x) => `${x}`", "a TemplateExpression is outside"],
    ["(x = 2) => x", "only plain parameters are accepted"],
    ["(...xs) => 1", "only plain parameters are accepted"],
    ["async (x) => x", "map takes an arrow function"],
    ["function (x) { return x; }", "map takes an arrow function"],
    [Math.exp, "map takes an arrow function, got `function exp() { [native code] }`"],
  ];
  it.each(cases)("%s", (fn, text) => {
    expect(refusal(fn)).toContain(text);
  });

  it("locals that double an expression again and again, without doing the work first", () => {
    const doublings = Array.from({ length: 60 }, (_, i) => `const a${i + 1} = a${i} + a${i};`);
    expect(refusal(`(a0) => { ${doublings.join(" ")} return a60; }`))
      .toContain("over 4096 operations");
  });

  it("at the line of the call", () => {
    const build = (): unknown => defineModel(
      { name: "map", limits: { maxTokens: 1, maxContext: 8 } },
      (m) => ({ y: m.weight("w", [5, 4]).lookup(m.ids()).map((x) => x * eps) }),
    );
    expect(build).toThrow(/map at @mpk\/dsl\/test\/map\.test\.ts:\d+:\d+: `eps`/);
  });
});
