/** @file Number formats: rounding to nearest even, and back. */
import { toBf16 } from "@mpk/ir";
import fc from "fast-check";
import { expect, test } from "vitest";
import { fromF16, requireWeightDType, toBf16Words, toFloat32 } from "../src/convert.ts";

const stored = (data: ArrayBufferView) =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

test("float32 reaches bf16 rounded to nearest even, and bf16 comes back as it was", () => {
  fc.assert(
    fc.property(fc.float32Array({ noNaN: true, maxLength: 8 }), (values) => {
      const bits = toBf16Words(stored(values), "F32");
      expect([...toFloat32(stored(bits), "BF16")]).toEqual([...values].map(toBf16));
    }),
  );
});

test("slices at odd offsets are read all the same", () => {
  const bytes = Uint8Array.from([9, 1, 2, 3, 4]).subarray(1);
  expect([...toBf16Words(bytes, "BF16")]).toEqual([0x0201, 0x0403]);
});

test("halves are exact: normal, subnormal, infinite, not a number", () => {
  expect(fromF16(0x3c00)).toBe(1);
  expect(fromF16(0xc000)).toBe(-2);
  expect(fromF16(0x0001)).toBe(2 ** -24);
  expect(fromF16(0x7c00)).toBe(Infinity);
  expect(fromF16(0x7e00)).toBeNaN();
  expect([...toBf16Words(stored(new Uint16Array([0x3c00, 0xb800])), "F16")]).toEqual([
    0x3f80, 0xbf00,
  ]);
});

test("other formats are refused by name", () => {
  expect(() => requireWeightDType("I8", 'tensor "w"')).toThrow(/"w": dtype is I8/);
});
