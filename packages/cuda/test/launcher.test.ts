/** @file The launcher's text: deterministic, escaped, complete; wrong Manifests are refused. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { cString, emitLauncher } from "../src/launcher/launcher.ts";
import { kernelParams, type Manifest } from "../src/manifest.ts";
import { tinyManifest } from "./launcher/build.ts";

const utf8 = new TextEncoder();

/** What a C compiler makes of the literals that `cString` writes. */
function unescaped(literal: string): Uint8Array {
  const inside = literal.slice(1, -1);
  const bytes = inside.match(/\\[0-7]{3}|[^\\]/g) ?? [];
  expect(bytes.join("")).toBe(inside);
  return Uint8Array.from(bytes, (text) =>
    text.length > 1 ? parseInt(text.slice(1), 8) : text.charCodeAt(0),
  );
}

test("any text is a C string of its UTF-8 bytes, in plain characters", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const literal = cString(text);
      expect(literal).toMatch(/^"[ -~]*"$/);
      expect(literal.slice(1, -1)).not.toMatch(/["?]/);
      expect(unescaped(literal)).toEqual(utf8.encode(text));
    }),
  );
});

test("the same Manifest gives the same files", () => {
  expect(emitLauncher(tinyManifest)).toEqual(emitLauncher(structuredClone(tinyManifest)));
});

test("every kernel parameter is filled, and none that the kernel does not have", () => {
  const files = emitLauncher(tinyManifest);
  const set = files["mpk_generation.hpp"].matchAll(/params_\.(\w+)(?:\[i\])?\s+=\s/g);
  const names = new Set(Array.from(set, ([, name]) => name));
  expect(names).toEqual(new Set(kernelParams.fields.map(({ name }) => name)));
});

test("tensor names and scopes are data, never code", () => {
  const { "mpk_model.cpp": text, "example_main.cpp": example } = emitLauncher(tinyManifest);
  expect(text).toContain(String.raw`{"odd \042name\042\077", 16u, 70u}`);
  expect(text).toContain(String.raw`{"linear", "layers.0 \042a\042", "model.ts:3:5"}`);
  expect(text.split("\n")[0]).toMatch(/a__tiny_____model for 2 SMs/);
  expect(example).toContain("-arch=sm_90a");
});

test("a model without weights has tables that C++ accepts", () => {
  const { "mpk_model.cpp": text } = emitLauncher({ ...tinyManifest, pack: [], resident: [] });
  expect(text).toContain("const PackEntry kPack[] = {\n    {},\n};");
});

const [resident] = tinyManifest.resident;
const [entry] = tinyManifest.pack;
const twice = <T>(one: T | undefined) => Array.from({ length: 9 }, () => one as T);

test.each<[string, Partial<Manifest>, RegExp]>([
  ["a kernel name", { entries: { decode: "a b", pack: "p" } }, /'a b' is no C identifier/],
  ["a target", { target: "sm_90; rm" }, /'sm_90; rm' is no target/],
  ["float32 resident weights", { resident: [{ ...resident!, bytes: 2048 }] },
    /resident table is 2048 bytes, its bf16 parts are 1024/],
  ["too many groups", { pack: [{ ...entry!, groups: twice(entry!.groups[0]) }] },
    /streamed op 1 has 9 weights, expected 1 to 8/],
  ["half a task", { pack: [{ ...entry!, tasks: [0, 0] }] }, /2 task words, not four a task/],
  ["another size", { pack: [{ ...entry!, n: 39 }] }, /another size than 39 x 70/],
  ["a zero character", {
    resident: [{ ...resident!, parts: [{ tensor: "a\0b", rows: 32, columns: 16 }] }],
  }, /"a\\u0000b" has a zero character/],
])("%s that cannot be loaded is refused", (_, change, message) => {
  expect(() => emitLauncher({ ...tinyManifest, ...change })).toThrow(message);
});
