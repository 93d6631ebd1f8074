/** @file What the compiler knows of shapes, and how its errors read. */
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { beforeAll, describe, expect, expectTypeOf, it } from "vitest";
import type { Model, Tensor, Weight } from "@mpk/dsl";

const root = fileURLToPath(new URL("../../../", import.meta.url));

const preamble = `
import type { Model, Tensor, Weight } from "@mpk/dsl";
declare const m: Model;
declare const n: number;
const cache = m.kvCache({ kvHeads: 2, headDim: 48 });
const x = m.weight("table", [512, 96]).lookup(m.ids());
const w = <const S extends readonly number[]>(...shape: S): Weight<S> => m.weight("w", shape);
`;

/** A statement, and the sentence its error ends in. */
const mistakes: readonly (readonly [string, string])[] = [
  ["x.matmul(w(64, 128));", "matmul: inner dimensions differ: 96 and 128"],
  ["x.matmul(w(64, 96), { bias: w(65) });", "matmul: bias has 65 elements, 64 are needed"],
  ["x.rmsNorm(w(128), { eps: 1e-5 });", "rmsNorm: gain has 128 elements, 96 are needed"],
  ["x.rmsNorm(w(96), { eps: 1e-5, width: 16 });", "rmsNorm: gain has 96 elements, 16 are needed"],
  ["x.rmsNorm(w(96, 1), { eps: 1e-5 });", "rmsNorm: gain is [96, 1], a vector is needed"],
  ["x.layerNorm(w(96), w(95), { eps: 1 });", "layerNorm: bias has 95 elements, 96 are needed"],
  ["x.add(x.matmul(w(64, 96)));", "add: shapes differ: [T, 96] and [T, 64]"],
  ["x.mul(x.last());", "mul: shapes differ: [T, 96] and [1, 96]"],
  ["x.gated('silu', w(64));", "gated: shapes differ: [T, 96] and [64]"],
  ["x.map((a, b) => a * b, w(64));", "map: an operand's shape does not fit"],
  ["x.split([64, 33]);", "split: parts have 97 columns in all, the tensor has 96"],
  ["x.concat(x.last());", "concat: rows differ: [T, 96] and [1, 96]"],
  ["x.matmul(w(64, 96)).sample();",
    "sample: one row of logits is needed, the tensor is [T, 64]; take last() first"],
  ["x.attention(x, x.slice(0, 32), cache, { positions: m.positions() });",
    "attention: keys and values: shapes differ: [T, 96] and [T, 32]"],
  ["x.matmul(x);", "Type 'Tensor<readonly [\"T\", 96], \"f32\">' is missing"],
  ["x.cast('f64');", "Argument of type '\"f64\"' is not assignable to parameter of type 'DType'"],
];

/** Statements without a mistake, some of them only because run time decides. */
const accepted: readonly string[] = [
  "x.matmul(w(64, n)).add(x.matmul(w(n, 96)));",
  "x.rmsNorm(w(n), { eps: 1e-5, width: n }).rmsNorm(w(16), { eps: 1e-5, width: 16 });",
  "x.split([n, 3, n]); x.split([32, 64] as number[]);",
  "x.reshape('T', 6, 16).add(w(96)).matmul(w(8, 96));",
  "const plain: Tensor = x; plain.matmul(w(3, 4)).add(plain);",
  "const row: Tensor<readonly ['T', number], 'f32'> = x; row.last().matmul(w(n, n)).sample();",
  "x.map((a, b, c) => a + b * c, w(96), w(1)); w(96).add(x);",
  "m.layers(3, x, (l, h) => h.add(h.matmul(l.weight('w', [96, 96]))));",
];

/** Diagnostics of each snippet as text, all compiled as one program. */
function compile(snippets: readonly string[]): readonly string[] {
  const path = `${root}tsconfig.json`;
  const { config } = ts.readConfigFile(path, ts.sys.readFile) as { config: object };
  const project = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const options = { ...project.options, noUnusedLocals: false };
  const paths = snippets.map((_, i) => `${root}packages/dsl/test/snippet-${i}.ts`);
  const texts = new Map(paths.map((path, i) => [path, `${preamble}${snippets[i]}\n`]));
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  host.fileExists = (path) => texts.has(path) || fileExists(path);
  host.readFile = (path) => texts.get(path) ?? readFile(path);
  const program = ts.createProgram(paths, options, host);
  return paths.map((path) => program
    .getSemanticDiagnostics(program.getSourceFile(path))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"))
    .join("\n"));
}

describe("the compiler", () => {
  let diagnostics: readonly string[] = [];
  beforeAll(() => {
    diagnostics = compile([...mistakes.map(([statement]) => statement), ...accepted]);
    // A hook's own limit is too short for a compiler on a busy machine.
  }, 60_000);

  it.each(mistakes.map(([statement, text], i) => [statement, text, i] as const))(
    "says of %s: %s", (_statement, text, i) => expect(diagnostics[i]).toContain(text),
  );

  it("puts the sentence where the argument's type should be", () => {
    expect(diagnostics[0]?.split("\n")[0]).toBe(
      "Argument of type 'Weight<readonly [64, 128]>' is not assignable to parameter of type "
        + "'Problem<\"matmul: inner dimensions differ: 96 and 128\">'.",
    );
  });

  it.each(accepted.map((statement, i) => [statement, i] as const))(
    "accepts %s", (_statement, i) => expect(diagnostics[mistakes.length + i]).toBe(""),
  );
});

describe("shapes of results", () => {
  it("are known as far as the operands' are", () => {
    const check = (m: Model, n: number): void => {
      const table = m.weight("table", [512, 96]);
      expectTypeOf(table).toEqualTypeOf<Weight<readonly [512, 96]>>();
      const x = table.lookup(m.ids());
      expectTypeOf(x).toEqualTypeOf<Tensor<readonly ["T", 96], "f32">>();
      expectTypeOf(x.cast("bf16")).toEqualTypeOf<Tensor<readonly ["T", 96], "bf16">>();
      const logits = x.last().matmul(table);
      expectTypeOf(logits).toEqualTypeOf<Tensor<readonly [1, 512], "f32">>();
      expectTypeOf(logits.sample()).toEqualTypeOf<Tensor<readonly [1], "i32">>();
      expectTypeOf(x.argmax()).toEqualTypeOf<Tensor<readonly ["T"], "i32">>();
      const [a, b] = x.split([64, 32]);
      expectTypeOf(b).toEqualTypeOf<Tensor<readonly ["T", 32], "f32">>();
      expectTypeOf(a.concat(b)).toEqualTypeOf<Tensor<readonly ["T", 96], "f32">>();
      const big = x.matmul(m.weight("big", [199_999, 96]));
      expectTypeOf(big.concat(x).shape).toEqualTypeOf<readonly ["T", 200_095]>();
      expectTypeOf(x.reshape("T", 6, 16).shape).toEqualTypeOf<readonly ["T", 6, 16]>();
      expectTypeOf(x.matmul(m.weight("w", [n, 96])).shape).toEqualTypeOf<readonly ["T", number]>();
      expectTypeOf(m.weight("bias", [96]).add(x).shape).toEqualTypeOf<readonly ["T", 96]>();
      expectTypeOf(x.map((v, w) => v + w, m.weight("one", [1])).shape)
        .toEqualTypeOf<readonly ["T", 96]>();
    };
    expectTypeOf(check).parameters.toEqualTypeOf<[Model, number]>();
  });

  it("make a tensor assignable where less is known, never where something else is", () => {
    type Known = Tensor<readonly ["T", 96], "f32">;
    expectTypeOf<Known>().toExtend<Tensor<readonly ["T", number], "f32">>();
    expectTypeOf<Known>().toExtend<Tensor>();
    expectTypeOf<Tensor<readonly ["T", 64], "f32">>().not.toExtend<Known>();
    expectTypeOf<Tensor<readonly ["T", 96], "bf16">>().not.toExtend<Known>();
    expectTypeOf<Weight<readonly [96]>>().toExtend<Tensor<readonly [number], "bf16">>();
  });
});
