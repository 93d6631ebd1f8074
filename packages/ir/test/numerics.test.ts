/** @file bf16 rounding and conversions. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  bf16BitsOf, bf16FromBits, castData, fromBf16Bits, intsOf, roundToBf16, tensorOf, toBf16,
  toBf16Bits,
} from "../src/index.ts";

const float = fc.float({ noNaN: true });
const bits = fc.integer({ min: 0, max: 0xffff });

describe("bf16", () => {
  it("rounds to the nearest representable number, to even bits on a tie", () => {
    fc.assert(fc.property(fc.float({ noNaN: true, max: 2 ** 126, min: -(2 ** 126) }), (x) => {
      const rounded = bf16BitsOf(x);
      const error = Math.abs(bf16FromBits(rounded) - x);
      for (const other of [rounded - 1, rounded + 1]) {
        // Crossing zero or the exponent limit leaves the neighbourhood.
        if ((other & 0x7fff) === 0x7fff || (rounded & 0x7fff) === 0) continue;
        const otherError = Math.abs(bf16FromBits(other) - x);
        expect(error).toBeLessThanOrEqual(otherError);
        if (error === otherError) expect(rounded & 1).toBe(0);
      }
    }));
  });

  it("keeps numbers it can hold: bits survive a round trip", () => {
    fc.assert(fc.property(bits, (b) => {
      const isNaN = (b & 0x7fff) > 0x7f80;
      if (isNaN) expect(bf16FromBits(b)).toBeNaN();
      else expect(bf16BitsOf(bf16FromBits(b))).toBe(b);
    }));
  });

  it("treats arrays as it treats numbers", () => {
    fc.assert(fc.property(fc.array(float), (numbers) => {
      const data = Float32Array.from(numbers);
      expect([...roundToBf16(data)]).toEqual(numbers.map(toBf16));
      expect([...toBf16Bits(data)]).toEqual(numbers.map(bf16BitsOf));
      expect(fromBf16Bits(toBf16Bits(data))).toEqual(roundToBf16(data));
    }));
  });

  it("overflows to infinity and keeps NaN", () => {
    expect(toBf16(3.4e38)).toBe(Infinity);
    expect(toBf16(Number.NaN)).toBeNaN();
    expect(bf16BitsOf(Number.NaN)).toBe(0x7fc0);
    expect(toBf16(1 + 2 ** -8)).toBe(1);
    expect(toBf16(1 + 3 * 2 ** -8)).toBe(1 + 2 ** -6);
  });
});

describe("tensors", () => {
  it("casts to bf16 only where precision asks for it", () => {
    const data = Float32Array.of(1.001, -2.7);
    expect(castData(data, "bf16", "f32")).toEqual(data);
    expect(castData(data, "bf16", "bf16")).toEqual(roundToBf16(data));
    expect(castData(data, "i32", "f32")).toEqual(Int32Array.of(1, -2));
  });

  it("refuses data that does not fill the shape", () => {
    const type = { dtype: "f32", shape: ["T", 3] } as const;
    expect(() => tensorOf(type, 2, new Float32Array(5)))
      .toThrow("a tensor f32 [2, 3] has 6 elements, got 5");
    expect(() => intsOf(tensorOf(type, 1, new Float32Array(3)))).toThrow("cast to i32 first");
  });
});
