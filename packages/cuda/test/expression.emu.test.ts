/** @file Printed expressions, compiled as C++, give what the interpreter gives. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { compileExpr, printExpr, type Expr } from "@mpk/ir";
import { afterAll, expect, test } from "vitest";
import { findHostCompiler } from "../../../scripts/tiers.ts";
import { arbitraryExpr } from "../../ir/test/arbitraries.ts";
import { floatLiteral, printExpression } from "../src/index.ts";
import { runCleanly, testFolder } from "./launcher/build.ts";

const folder = testFolder("expression");
afterAll(() => folder.remove());

/**
 * What machine.cuh has, on the host. Computed in double and rounded once, as the interpreter does,
 * so that only the printing is compared.
 */
const wrappers = `
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
using u32 = std::uint32_t;
static float bits_to_f32(u32 v) { float f; std::memcpy(&f, &v, 4); return f; }
static u32 f32_to_bits(float v) { u32 u; std::memcpy(&u, &v, 4); return u; }
static float round_bf16(float v) {
  u32 u = f32_to_bits(v);
  return v != v ? v : bits_to_f32((u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u);
}
#define ONE(name, text) static float m_##name(float f) { double x = f; return float(text); }
ONE(abs, std::fabs(x)) ONE(exp, std::exp(x)) ONE(log, std::log(x)) ONE(sqrt, std::sqrt(x))
ONE(rsqrt, 1.0 / std::sqrt(x)) ONE(tanh, std::tanh(x)) ONE(sigmoid, 1.0 / (1.0 + std::exp(-x)))
ONE(erf, std::erf(x)) ONE(sin, std::sin(x)) ONE(cos, std::cos(x)) ONE(floor, std::floor(x))
ONE(ceil, std::ceil(x))
static float m_min(float x, float y) {
  return x != x ? y : y != y ? x : x < y || (x == y && std::signbit(x)) ? x : y;
}
static float m_max(float x, float y) { return -m_min(-x, -y); }
static float m_pow(float x, float y) { return float(std::pow(double(x), double(y))); }
`;

const argCount = 3;
const numbers = fc.oneof(
  fc.float({ min: -8, max: 8 }),
  fc.float(),
  fc.constantFrom(0, -0, 1, -1, 0.5, -0.5, Infinity, -Infinity, Number.NaN),
);
const cases = fc.record({
  expr: arbitraryExpr(argCount),
  inputs: fc.array(fc.tuple(numbers, numbers, numbers), { minLength: 16, maxLength: 16 }),
});
type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

/** Results of each case on each of its inputs, from one compiled program. */
function compiled(list: readonly Case[]): Float32Array {
  const functions = list.map(({ expr, inputs }, i) => {
    const text = printExpression(expr, ["a[0]", "a[1]", "a[2]"]);
    const table = inputs.map((row) => `{${row.map(floatLiteral).join(", ")}}`).join(", ");
    return `static float f${i}(const float* a) { (void)a; return ${text}; }
static void run${i}() {
  const float in[][3] = {${table}};
  for (auto& a : in) std::printf("%u\\n", f32_to_bits(f${i}(a)));
}`;
  });
  const main = `int main() { ${list.map((_, i) => `run${i}();`).join(" ")} }\n`;
  const [source, program] = [join(folder.path, "all.cpp"), join(folder.path, "all")];
  writeFileSync(source, `${wrappers}${functions.join("\n")}\n${main}`);
  const flags = ["-std=c++17", "-O0", "-ffp-contract=off", "-Wall", "-Werror", "-Wno-unused"];
  runCleanly(findHostCompiler() ?? "c++", [...flags, "-Wno-float-equal", "-o", program, source]);
  const bits = Uint32Array.from(runCleanly(program, []).trim().split("\n"), Number);
  return new Float32Array(bits.buffer);
}

/** The same number but for the last bits of the two mathematics libraries. */
const isClose = (a: number, b: number): boolean =>
  Object.is(a, b) || a === b || Math.abs(a - b) <= 1e-6 * Math.max(Math.abs(a), Math.abs(b));

test("printed C++ gives what the interpreter gives, for every operation and number", () => {
  const list = fc.sample(cases, { numRuns: 400, seed: 20 });
  const used = new Set(list.flatMap(({ expr }) => [...operations(expr)]));
  expect(used.size).toBe(32);
  const got = compiled(list);
  let at = 0;
  for (const { expr, inputs } of list) {
    const reference = compileExpr(expr, "bf16");
    for (const row of inputs) {
      const args = row.map(Math.fround);
      const [a, b] = [got[at++] ?? 0, reference(args)];
      if (!isClose(a, b)) expect.fail(`${printExpr(expr)} of ${args.join(", ")}: ${a}, not ${b}`);
    }
  }
  expect(at).toBe(got.length);
}, 120_000);

function* operations(expr: Expr): Generator<string> {
  yield expr.op === "round" ? `round ${expr.to}` : expr.op;
  for (const child of Object.values(expr)) {
    if (typeof child === "object") yield* operations(child as Expr);
  }
}
