/** @file Number formats: rounding to nearest even, and back. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { bf16Bits, fromBf16, fromF16, requireWeightDType, toBf16 } from "../src/convert.ts";

const float32 = fc.float({ noNaN: true, noDefaultInfinity: true });

test("a bf16 is the nearest one, and the even one of two equally near", () => {
  fc.assert(
    fc.property(float32, (value) => {
      const bits = bf16Bits(value);
      const got = fromBf16(bits);
      if (!Number.isFinite(got)) return;
      const error = Math.abs(got - value);
      for (const other of [bits - 1, bits + 1]) {
        if ((other ^ bits) & 0x8000) continue;
        const distance = Math.abs(fromBf16(other & 0xffff) - value);
        if (!Number.isFinite(distance)) continue;
        expect(error).toBeLessThanOrEqual(distance);
        if (error === distance && other !== bits) expect(bits & 1).toBe(0);
      }
    }),
  );
});

test("every bf16 survives, and every half that bf16 can hold", () => {
  for (let bits = 0; bits < 65536; bits++) {
    const value = fromBf16(bits);
    if (!Number.isNaN(value)) expect(bf16Bits(value)).toBe(bits);
    else expect(fromBf16(bf16Bits(value))).toBeNaN();
  }
  expect(fromF16(0x3c00)).toBe(1);
  expect(fromF16(0xc000)).toBe(-2);
  expect(fromF16(0x0001)).toBe(2 ** -24);
  expect(fromF16(0x7c00)).toBe(Infinity);
  expect(fromF16(0x7e00)).toBeNaN();
});

test("stored formats reach bf16", () => {
  const f32 = new Uint8Array(new Float32Array([1, -0.5, 1 + 2 ** -8, 1 + 3 * 2 ** -8]).buffer);
  const f16 = new Uint8Array(new Uint16Array([0x3c00, 0xb800]).buffer);
  expect([...toBf16(f32, "F32")]).toEqual([0x3f80, 0xbf00, 0x3f80, 0x3f82]);
  expect([...toBf16(f16, "F16")]).toEqual([0x3f80, 0xbf00]);
  expect([...toBf16(new Uint8Array([1, 2, 3, 4]), "BF16")]).toEqual([0x0201, 0x0403]);
  expect(() => requireWeightDType("I8", 'tensor "w"')).toThrow(/"w": dtype is I8/);
});
