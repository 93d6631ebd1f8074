/** @file Safetensors: what was written is read; whatever is wrong is named. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { MpkError } from "../src/errors.ts";
import { mapFile } from "../src/native.ts";
import { openSafetensors } from "../src/safetensors.ts";
import { openWeights } from "../src/weights.ts";
import { safetensorsBytes, writeSafetensors, type TestTensor } from "./build.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-safetensors-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const bf16 = (...shape: number[]): TestTensor => {
  const bytes = new Uint8Array(2 * shape.reduce((a, b) => a * b, 1));
  return { dtype: "BF16", shape, bytes: bytes.map((_, i) => i * 7 + 1) };
};

const thrown = async (work: () => Promise<unknown>): Promise<MpkError> => {
  const error = await work().then(() => null, (reason: unknown) => reason);
  if (!(error instanceof MpkError)) throw new Error(`expected an MpkError, got ${String(error)}`);
  expect(error.fix).not.toBe("");
  return error;
};

test.each([
  ["mapped", mapFile],
  ["read where files cannot be mapped", async () => null],
])("every tensor that was written is read back, whole and in slices: %s", async (_, map) => {
  const tensors = fc.dictionary(
    fc.string({ minLength: 1, maxLength: 12 }).filter((name) => name !== "__metadata__"),
    fc.array(fc.nat(5), { maxLength: 3 }).map((shape) => bf16(...shape)),
    { maxKeys: 5, noNullPrototype: true },
  );
  await fc.assert(
    fc.asyncProperty(tensors, async (written) => {
      const path = writeSafetensors(join(dir, "round.safetensors"), written);
      const file = await openSafetensors(path, map);
      expect([...file.tensors.keys()].sort()).toEqual(Object.keys(written).sort());
      for (const [name, { shape, bytes }] of Object.entries(written)) {
        const tensor = file.tensors.get(name);
        expect(tensor?.shape).toEqual(shape);
        expect(Uint8Array.from(tensor?.read() ?? [])).toEqual(bytes);
        const half = bytes.length >> 1;
        expect(Uint8Array.from(tensor?.read(half) ?? [])).toEqual(bytes.slice(half));
      }
      file.close();
    }),
    { numRuns: 60 },
  );
});

test("a damaged file is read or refused, but never crashes", async () => {
  const whole = safetensorsBytes({ a: bf16(2, 3), b: bf16(4) });
  const path = join(dir, "fuzz.safetensors");
  const place = fc.nat(whole.length - 1);
  await fc.assert(
    fc.asyncProperty(place, fc.nat(255), fc.nat(whole.length), async (at, byte, length) => {
      const damaged = whole.slice(0, length);
      damaged[at] = byte;
      writeFileSync(path, damaged);
      const opened = await openSafetensors(path).catch((error: unknown) => error);
      if (opened instanceof Error) expect(opened).toBeInstanceOf(MpkError);
      else (opened as { close(): void }).close();
    }),
    { numRuns: 300 },
  );
});

const entry = (change: object) => (header: Record<string, unknown>) => ({
  ...header,
  w: { ...(header["w"] as object), ...change },
});

test.each([
  ["an unknown dtype", entry({ dtype: "BF17" }), /"w".*dtype/],
  ["a shape that does not fit", entry({ shape: [3, 3] }), /"w".*takes 18 bytes.*give 12/],
  ["a negative dim", entry({ shape: [-1, 3] }), /"w".*shape/],
  ["offsets past the end", entry({ shape: [4, 3], data_offsets: [0, 24] }), /"w".*truncated/],
  ["a hole", entry({ data_offsets: [4, 16] }), /4 bytes between the header and "w" belong to no/],
  ["a second owner", (h: Record<string, unknown>) => ({ ...h, v: h["w"] }), /"w" and "v" overlap/],
  ["an empty name", (h: Record<string, unknown>) => ({ "": h["w"] }), /empty name/],
  ["an array for a header", () => [1], /not a JSON object/],
])("%s is refused by name", async (_, edit, message) => {
  const path = writeSafetensors(join(dir, "bad.safetensors"), { w: bf16(2, 3), z: bf16(2) }, edit);
  const error = await thrown(() => openSafetensors(path));
  expect(error.message).toMatch(message);
  expect(error.message).toContain("bad.safetensors");
});

test("truncated, oversized and missing files are refused with numbers", async () => {
  const path = join(dir, "cut.safetensors");
  const whole = safetensorsBytes({ w: bf16(8) });
  writeFileSync(path, whole.slice(0, whole.length - 3));
  expect((await thrown(() => openSafetensors(path))).message).toMatch(/"w".*truncated/);
  writeFileSync(path, whole.slice(0, 5));
  expect((await thrown(() => openSafetensors(path))).message).toMatch(/8 bytes expected.*5/);
  const huge = whole.slice();
  new DataView(huge.buffer).setBigUint64(0, 1n << 40n, true);
  writeFileSync(path, huge);
  expect((await thrown(() => openSafetensors(path))).message).toMatch(/claims 1099511627776/);
  expect((await thrown(() => openSafetensors(join(dir, "no")))).message).toMatch(/cannot be read/);
});

test("shards are one set of weights; index and shards must agree", async () => {
  writeSafetensors(join(dir, "one.safetensors"), { a: bf16(2) });
  writeSafetensors(join(dir, "two.safetensors"), { "model.b": bf16(3) });
  const index = join(dir, "model.safetensors.index.json");
  const write = (map: object) => writeFileSync(index, JSON.stringify({ weight_map: map }));

  write({ a: "one.safetensors", "model.b": "two.safetensors" });
  const weights = await openWeights(dir);
  expect(weights.names).toEqual(["a", "model.b"]);
  expect(weights.bytes).toBe(10);
  expect(() => weights.expect("a", [3])).toThrow(/"a" has shape \[2\], expected \[3\]/);
  expect(() => weights.tensor("b")).toThrow(/"b" is missing \(there is model.b\)/);
  weights.close();

  write({ a: "two.safetensors" });
  expect((await thrown(() => openWeights(dir))).message).toMatch(/"a" is not in two/);
  write({ a: "../one.safetensors" });
  expect((await thrown(() => openWeights(dir))).message).toMatch(/not a plain file name/);
  write({ a: "gone.safetensors" });
  expect((await thrown(() => openWeights(dir))).message).toMatch(/gone.safetensors.*cannot be/);
});
