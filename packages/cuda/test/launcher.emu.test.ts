/** @file The launcher's parts that need no CUDA, compiled: struct layout, header, the reader. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toBf16Bits } from "@mpk/ir";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findHostCompiler } from "../../../scripts/tiers.ts";
import { kernelParams } from "../src/manifest.ts";
import {
  bf16Tensor, runCleanly, safetensorsBytes, testFolder, type Tensors, type TestTensor, writeFolder,
  writeLauncher,
} from "./launcher/build.ts";

const folder = testFolder("launcher");
afterAll(() => folder.remove());
const compiler = findHostCompiler() ?? "c++";
const at = (name: string): string => join(folder.path, name);
const strict = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"];
const sanitized = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

beforeAll(() => {
  writeLauncher(folder.path);
  const source = join(import.meta.dirname, "launcher", "reader.cpp");
  const files = [source, "-I", folder.path, "-o", at("reader")];
  runCleanly(compiler, ["-std=c++17", ...strict, ...sanitized, ...files]);
}, 120_000);

test("the parameters lie where the Manifest says", () => {
  const lines = kernelParams.fields.map(
    ({ name }) =>
      `std::printf("%zu %zu\\n", offsetof(mpk::Params, ${name}), sizeof(mpk::Params::${name}));`,
  );
  const size = `std::printf("%zu\\n", sizeof(mpk::Params));`;
  writeFileSync(
    at("layout.cpp"),
    `#include <cstdio>\n#include "mpk_model.h"\nint main() {\n${lines.join("\n")}\n${size}\n}\n`,
  );
  runCleanly(compiler, ["-std=c++17", ...strict, at("layout.cpp"), "-o", at("layout")]);
  const bytes = { ptr: 8, u64: 8, f64: 8, u32: 4, i32: 4, f32: 4 };
  const expected = kernelParams.fields.map(
    ({ offset, type, count }) => `${offset} ${bytes[type] * count}`,
  );
  expect(runCleanly(at("layout"), []).trim().split("\n")).toEqual([
    ...expected, `${kernelParams.bytes}`,
  ]);
});

test("mpk.h is C89", () => {
  writeFileSync(at("c89.c"), '#include "mpk.h"\nint main(void) { return mpk_vocab() == 0; }\n');
  const flags = ["-x", "c", "-std=c89", "-pedantic", "-fsyntax-only"];
  const said = runCleanly(compiler, [...flags, ...strict, at("c89.c")]);
  expect(said).toBe("");
});

interface Answer {
  readonly eos?: readonly number[];
  readonly tensors?: readonly (readonly number[])[];
  readonly error?: string;
}

type Files = Readonly<Record<string, string | Uint8Array>>;

/** What the reader says of each folder; a sanitizer's report fails the test. */
function readAll(cases: readonly Files[]): readonly Answer[] {
  const folders = cases.map((files, i) => writeFolder(at(`case${i}`), files));
  const lines = runCleanly(at("reader"), folders).trim().split("\n");
  for (const each of folders) rmSync(each, { recursive: true });
  return lines.map((line) => JSON.parse(line) as Answer);
}

const read = (files: Files): Answer => readAll([files])[0] ?? {};
const expectLine = (rows: number, columns: number, name: string) => `${rows} ${columns} ${name}\n`;
const model = (bytes: Uint8Array, expected: string): Files => ({
  "model.safetensors": bytes,
  expect: expected,
});

/** Any float32 bits, and those around ties and edges of bf16. */
const float32 = fc.oneof(
  fc.integer({ min: 0, max: 0xffffffff }),
  fc
    .tuple(fc.nat(0xffff), fc.constantFrom(0, 1, 0x7fff, 0x8000, 0x8001, 0xffff))
    .map(([high, low]) => high * 65536 + low),
);

/** IEEE 754 binary16, by its definition. */
function valueOfHalf(bits: number): number {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** Stored bits of a tensor and the bf16 bits that they stand for. */
const stored = fc.oneof(
  fc.array(fc.nat(0xffff), { minLength: 1, maxLength: 40 }).map((bits) => {
    const words = Uint16Array.from(bits);
    return { ...bf16Tensor([bits.length], words), expected: words };
  }),
  fc.array(float32, { minLength: 1, maxLength: 40 }).map((bits) => {
    const words = Uint32Array.from(bits);
    const expected = toBf16Bits(new Float32Array(words.buffer));
    return { dtype: "F32", shape: [bits.length], bytes: new Uint8Array(words.buffer), expected };
  }),
  fc.array(fc.nat(0xffff), { minLength: 1, maxLength: 40 }).map((bits) => {
    const words = Uint16Array.from(bits);
    const expected = toBf16Bits(Float32Array.from(words, valueOfHalf));
    return { dtype: "F16", shape: [bits.length], bytes: new Uint8Array(words.buffer), expected };
  }),
);

/** NaNs may differ in their payload. */
const withoutNaNs = (words: Iterable<number>) =>
  Array.from(words, (word) => ((word & 0x7fff) > 0x7f80 ? 0x7fff : word));

describe("the reader", () => {
  test("gives every tensor in bf16, rounded to nearest even", () => {
    const name = fc
      .string({ minLength: 1, maxLength: 10, unit: "grapheme" })
      .filter((text) => !/[\n\0]/.test(text) && text !== "__metadata__" && text !== "__proto__");
    const file = fc.dictionary(name, stored, { minKeys: 1, maxKeys: 4, noNullPrototype: true });
    const files = fc.sample(file, { numRuns: 150, seed: 7 });
    const answers = readAll(
      files.map((tensors) => {
        const lines = Object.entries(tensors).map(([key, { shape }]) =>
          expectLine(shape[0] ?? 0, 1, key),
        );
        return model(safetensorsBytes(tensors), lines.join(""));
      }),
    );
    files.forEach((tensors, i) => {
      expect(answers[i]?.error).toBeUndefined();
      const found = answers[i]?.tensors?.map(withoutNaNs);
      expect(found).toEqual(Object.values(tensors).map((one) => withoutNaNs(one.expected)));
    });
  });

  test("converts every half", () => {
    const words = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const half: TestTensor = { dtype: "F16", shape: [65536], bytes: new Uint8Array(words.buffer) };
    const answer = read(model(safetensorsBytes({ half }), expectLine(65536, 1, "half")));
    const expected = toBf16Bits(Float32Array.from(words, valueOfHalf));
    expect(withoutNaNs(answer.tensors?.[0] ?? [])).toEqual(withoutNaNs(expected));
  });

  test("reads or refuses a damaged file, but never crashes", () => {
    const whole = safetensorsBytes({ a: words(2, 3), b: words(4) });
    const damage = fc.tuple(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length));
    const files = fc.sample(damage, { numRuns: 400, seed: 3 }).map(([place, byte, length], i) => {
      const damaged = whole.slice(0, i % 2 === 0 ? length : whole.length);
      damaged[place] = byte;
      return model(damaged, expectLine(2, 3, "a"));
    });
    const answers = readAll(files);
    expect(answers).toHaveLength(files.length);
    const refused = answers.filter(({ error }) => error?.includes("model.safetensors"));
    expect(refused.length).toBeGreaterThan(200);
  });
});

function words(...shape: number[]): TestTensor {
  const count = shape.reduce((a, b) => a * b, 1);
  return bf16Tensor(shape, Uint16Array.from({ length: count }, (_, i) => i + 1));
}

const good: Tensors = { w: words(2, 3) };
type Header = Record<string, unknown>;
const changed = (change: object) => (header: Header) => ({
  ...header, w: { ...(header["w"] as object), ...change },
});

describe("a wrong file is refused by name", () => {
  test.each<[string, (header: Header) => unknown, RegExp]>([
    ["an unknown dtype", changed({ dtype: "BF17" }), /"w": unknown dtype "BF17"/],
    ["a shape that does not fit", changed({ shape: [3, 3] }), /takes 18 bytes.*give 12/],
    ["a negative dim", changed({ shape: [-1, 3] }), /"w": shape has an entry that is no whole/],
    ["a fraction", changed({ shape: [1.5, 4] }), /"w": shape has an entry that is no whole/],
    ["dims beyond all memory", changed({ shape: Array(9).fill(2 ** 50) }), /shape is too large/],
    ["offsets past the end", changed({ shape: [4, 3], data_offsets: [0, 24] }), /truncated/],
    ["offsets backwards", changed({ data_offsets: [12, 0] }), /"w": data_offsets are no range/],
    ["one offset", changed({ data_offsets: [12] }), /"w": data_offsets are no range/],
    ["a hole", changed({ data_offsets: [4, 16] }), /ends at byte|belong to no tensor/],
    ["a second owner", (header) => ({ ...header, v: header["w"] }), /"v" and "w" overlap/],
    ["half an entry", () => ({ w: { dtype: "BF16" } }), /"w": expected exactly dtype, shape/],
    ["a field too many", changed({ more: 1 }), /"w": expected exactly dtype, shape/],
    ["an empty name", (header) => ({ "": header["w"] }), /empty name/],
    ["no object", () => [1], /not a JSON object/],
    ["wrong metadata", (header) => ({ ...header, __metadata__: { a: 1 } }), /__metadata__/],
  ])("%s", (_, edit, message) => {
    const { error } = read(model(safetensorsBytes(good, edit), expectLine(2, 3, "w")));
    expect(error).toMatch(message);
    expect(error).toContain("model.safetensors");
  });

  test.each<[string, Uint8Array, RegExp]>([
    ["an empty file", new Uint8Array(), /at least 8 bytes expected, it has 0/],
    ["a file of another format", new TextEncoder().encode("PK is a zip file"), /header claims/],
    ["a header that is cut", safetensorsBytes(good).slice(0, 30), /the header ends at byte/],
    ["data that is cut", safetensorsBytes(good).slice(0, -1), /"w": ends at byte.*truncated/],
    ["bytes too many", Uint8Array.of(...safetensorsBytes(good), 0), /1 bytes after "w" belong/],
  ])("%s", (_, bytes, message) => {
    expect(read(model(bytes, "")).error).toMatch(message);
  });

  test.each([
    ["{\"a\":1,\"a\":2}", /"a" is there twice/],
    ["{\"a\":1}x", /byte 7: nothing may follow/],
    ["{\"a\":01}", /expected ',' or '}'/],
    ["{\"a\":tru", /expected a value/],
    ['{"\\ud800":1}', /half a surrogate pair/],
    ['{"a\u0001":1}', /a control character/],
    ["[".repeat(80), /nested too deeply/],
    ["", /ends too early/],
  ])("the header %s", (text, message) => {
    const bytes = new Uint8Array(8 + text.length);
    bytes[0] = text.length;
    bytes.set(new TextEncoder().encode(text), 8);
    expect(read(model(bytes, "")).error).toMatch(message);
  });

  test.each([
    ["a missing tensor", "2 3 v\n", /tensor "v" is missing; is this the checkpoint/],
    ["a missing prefix", "2 3 model.w\n", /"model.w" is missing \(there is "w"\)/],
    ["another shape", "3 2 w\n", /"w": shape is \[2, 3\], expected \[3, 2\]/],
    ["a flat one of two dims", "6 1 w\n", /shape is \[2, 3\], expected \[6, 1\]/],
    ["another dtype", "1 4 ints\n", /"ints": dtype is I32, expected BF16, F16 or F32/],
  ])("%s", (_, expected, message) => {
    const ints = { dtype: "I32", shape: [1, 4], bytes: new Uint8Array(16) };
    const { error } = read(model(safetensorsBytes({ ...good, ints }), expected));
    expect(error).toMatch(message);
  });
});

const index = (map: Record<string, unknown>): string => JSON.stringify({ weight_map: map });
const shards = {
  "one.safetensors": safetensorsBytes(good),
  "two.safetensors": safetensorsBytes({ v: words(4) }),
  expect: "2 3 w\n4 1 v\n",
};

describe("a checkpoint's folder", () => {
  test("may hold shards, and says where to stop", () => {
    const answer = read({
      ...shards,
      "model.safetensors.index.json": index({ w: "one.safetensors", v: "two.safetensors" }),
      "generation_config.json": '{"eos_token_id": [3, 4]}',
      "config.json": '{"eos_token_id": 7}',
    });
    expect(answer).toEqual({ eos: [3, 4], tensors: [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4]] });
  });

  test.each<[string, Files, readonly number[]]>([
    ["config.json", { "config.json": '{"eos_token_id": 7}' }, [7]],
    ["no file", {}, []],
    ["null", { "generation_config.json": '{"eos_token_id": null}' }, []],
  ])("EOS from %s", (_, files, eos) => {
    expect(read({ ...model(safetensorsBytes(good), ""), ...files }).eos).toEqual(eos);
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    ["outside the folder", { w: "../one.safetensors" }, /shard of "w" is no plain file name/],
    ["that is missing", { w: "gone.safetensors" }, /gone.safetensors: cannot be read: No such/],
    ["without the tensor", { v: "one.safetensors" }, /"v" is not in "one.safetensors"/],
    ["that is no name", { w: 3 }, /shard of "w" is no plain file name/],
  ])("a shard %s", (_, map, message) => {
    const files = { ...shards, "model.safetensors.index.json": index(map) };
    expect(read(files).error).toMatch(message);
  });

  test("the same tensor in two shards", () => {
    const files = {
      ...shards,
      "two.safetensors": safetensorsBytes({ w: words(2, 3), v: words(4) }),
      "model.safetensors.index.json": index({ w: "one.safetensors", v: "two.safetensors" }),
    };
    expect(read(files).error).toMatch(/tensor "w" is in .*one.safetensors and in .*two.safe/);
  });

  test.each<[string, Files, RegExp]>([
    ["without weights", { "config.json": "{}" }, /no weights: neither model.safetensors nor/],
    ["with a wrong EOS id", {
      ...model(safetensorsBytes(good), ""), "config.json": '{"eos_token_id": "x"}',
    }, /config.json: eos_token_id is no token id/],
    ["with a map that is none", { "model.safetensors.index.json": "{}" }, /no weight_map/],
  ])("%s", (_, files, message) => {
    expect(read(files).error).toMatch(message);
  });

  test("that does not exist", () => {
    const missing = runCleanly(at("reader"), [at("nowhere"), at("layout.cpp")]).split("\n");
    expect(missing[0]).toMatch(/nowhere: No such file or directory/);
    expect(missing[1]).toMatch(/expected a checkpoint's directory/);
  });
});
