/** @file The first weight that is no number is found wherever it is, and nothing else is accused. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { culpritOf, firstNonFinite } from "../src/culprit.ts";
import type { StoredTensor } from "../src/safetensors.ts";
import type { Weights } from "../src/weights.ts";

/** Bits of NaN, of both infinities and of what bf16 rounds to them, and of the largest number, by format. */
const formats = [
  { dtype: "BF16", width: 2, bad: [0x7fc0, 0x7f81, 0x7f80, 0xff80, 0xffff], good: 0x7f7f },
  { dtype: "F16", width: 2, bad: [0x7e00, 0x7c01, 0x7c00, 0xfc00, 0xffff], good: 0x7bff },
  { dtype: "F32", width: 4, bad: [0x7fc00000, 0x7f800001, 0x7f800000, 0xff800000, 0x7f7fffff, 0xff7f8000], good: 0x7f7f7fff },
] as const;

const encoded = (width: 2 | 4, values: readonly number[]): Uint8Array =>
  new Uint8Array((width === 2 ? Uint16Array.from(values) : Uint32Array.from(values)).buffer);

test.each(formats)("$dtype: the first that is not finite, at any length and alignment", (format) => {
  const { dtype, width, bad, good } = format;
  fc.assert(
    fc.property(fc.nat(9), fc.nat(9), fc.nat(9), fc.nat(3), fc.constantFrom(...bad),
      (before, after, second, shift, word) => {
        const values = [...Array<number>(before).fill(good), word, ...Array<number>(after).fill(good)];
        if (second < after) values[before + 1 + second] = word;
        const whole = new Uint8Array(shift * width + values.length * width);
        whole.set(encoded(width, values), shift * width);
        expect(firstNonFinite(whole.subarray(shift * width), dtype)).toBe(before);
      }),
  );
  fc.assert(
    fc.property(fc.array(fc.nat(good)), (values) => {
      expect(firstNonFinite(encoded(width, values), dtype)).toBe(-1);
    }),
  );
});

function weightsOf(tensors: Readonly<Record<string, Uint16Array>>): Weights {
  const stored = (name: string): StoredTensor => {
    const bytes = new Uint8Array((tensors[name] ?? new Uint16Array(0)).buffer);
    return {
      name, file: "f", dtype: "BF16", shape: [bytes.length / 16, 8], byteLength: bytes.length,
      read: (lo = 0, hi = bytes.length) => bytes.subarray(lo, hi),
    };
  };
  return {
    bytes: 0, names: Object.keys(tensors), has: (name) => name in tensors, tensor: stored,
    expect: stored, close: () => undefined,
  };
}

const readers = [
  { tensor: "a", by: "linear of layers.0" }, { tensor: "b", by: "linear of layers.1.mlp" },
];

test("tensor, row and column, and who reads it; all finite; out of time", async () => {
  const a = new Uint16Array(24).fill(0x3f80);
  const b = a.slice();
  b[19] = 0x7fc0;
  expect(await culpritOf(readers, weightsOf({ a, b }))).toBe(
    ': tensor "b" holds NaN or infinity at [2, 3], read by linear of layers.1.mlp',
  );
  expect(await culpritOf(readers, weightsOf({ a, b: a }))).toBe(", though all weights are finite");
  expect(await culpritOf(readers, weightsOf({ a, b: a }), -1)).toMatch(/none found in the first 0 of 2/);
});
