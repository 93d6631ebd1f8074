/** @file rope, by law and example. */
import { ropeFrequencies } from "@mpk/ops/semantics";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { f32, i32, opOf, values } from "../../../test/run.ts";

const none = { kind: "none" } as const;
const plain = { headDim: 4, theta: 10000, scaling: none } as const;
const row = fc.array(fc.double({ min: -3, max: 3, noNaN: true }), { minLength: 4, maxLength: 4 });
const turn = (x: readonly number[], position: number): number[] =>
  values(opOf("rope", plain).run([f32(["T", 4], x), i32(["T"], [position])]));
const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);

describe("rope", () => {
  it("makes products depend on the distance of positions alone", () => {
    fc.assert(
      fc.property(row, row, fc.nat(100), fc.nat(100), fc.nat(100), (a, b, p, q, shift) => {
        const near = dot(turn(a, p), turn(b, q));
        expect(dot(turn(a, p + shift), turn(b, q + shift))).toBeCloseTo(near, 2);
      }),
    );
  });

  it("turns element i with element i + headDim / 2", () => {
    const [a, b, c, d] = turn([1, 0, 0, 0], 1);
    expect(a).toBeCloseTo(Math.cos(1), 6);
    expect(c).toBeCloseTo(Math.sin(1), 6);
    expect([b, d]).toEqual([0, 0]);
  });
});

describe("its frequencies", () => {
  it("fall from 1 to near 1 / theta, and linear scaling divides them", () => {
    const base = ropeFrequencies({ headDim: 8, theta: 10000, scaling: none });
    expect([...base]).toEqual([1, 0.1, 0.01, 0.001].map(Math.fround));
    const scaling = { kind: "linear", factor: 4 } as const;
    const scaled = ropeFrequencies({ headDim: 8, theta: 10000, scaling });
    expect([...scaled]).toEqual([...base].map((v) => v / 4));
  });

  it("keep short wavelengths, divide long ones and mix between them in llama3 scaling", () => {
    const scaling = {
      kind: "llama3",
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalContext: 8192,
    } as const;
    const base = ropeFrequencies({ headDim: 64, theta: 500000, scaling: none });
    const scaled = ropeFrequencies({ headDim: 64, theta: 500000, scaling });
    let mixed = 0;
    base.forEach((frequency, i) => {
      const wavelength = (2 * Math.PI) / frequency;
      const own = scaled[i]!;
      if (wavelength < 2048) expect(own).toBe(frequency);
      else if (wavelength > 8192) expect(own).toBe(Math.fround(frequency / 8));
      else {
        mixed++;
        expect(own).toBeGreaterThan(frequency / 8);
        expect(own).toBeLessThan(frequency);
      }
    });
    expect(mixed).toBeGreaterThan(0);
  });
});

it("refuses odd heads and factors out of order", () => {
  expect(() => opOf("rope", { ...plain, headDim: 5 })).toThrow("it must be even, got 5");
  const factors = { factor: 8, lowFreqFactor: 4, highFreqFactor: 1, originalContext: 64 };
  expect(() => opOf("rope", { ...plain, scaling: { kind: "llama3", ...factors } })).toThrow(
    "lowFreqFactor must be below highFreqFactor: 4 and 1",
  );
  expect(() => opOf("rope", { ...plain, scaling: { kind: "yarn" } })).toThrow(
    "attribute scaling: expected an object whose kind is one of none, linear, llama3",
  );
});
