/** @file rope: what it means. */
import { ShapeError, intsOf } from "@mpk/ir";
import type { OpSemantics } from "@mpk/ir";
import { count, positive, record, variants } from "../../shared/attrs.ts";
import { extent, floatsAt, resultOf } from "../../shared/rows.ts";
import {
  floatActivation,
  inputAt,
  requireInputs,
  requireRuns,
  requireTokenVector,
  withDType,
} from "../../shared/shapes.ts";
import { traits } from "../../shared/traits.ts";

/** How frequencies are changed to reach a longer context than was trained. */
export type RopeScaling =
  | { readonly kind: "none" }
  | { readonly kind: "linear"; readonly factor: number }
  | {
      readonly kind: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      /** Positions the model was first trained for. */
      readonly originalContext: number;
    };

export interface RopeAttrs {
  readonly headDim: number;
  readonly theta: number;
  readonly scaling: RopeScaling;
}

/** The attributes' fields, for rope itself and for attention's `rope`. */
export const ropeFields = {
  headDim: count,
  theta: positive,
  scaling: variants({
    none: {},
    linear: { factor: positive },
    llama3: {
      factor: positive,
      lowFreqFactor: positive,
      highFreqFactor: positive,
      originalContext: count,
    },
  }),
} as const;

const readRope = record(ropeFields);

/** Throws `ShapeError` for an odd head and for llama3 factors out of order. */
export function checkRope(attrs: RopeAttrs): RopeAttrs {
  const { headDim, scaling } = attrs;
  if (headDim % 2 !== 0) {
    throw new ShapeError(`attribute headDim: rope turns pairs, so it must be even, got ${headDim}`);
  }
  if (scaling.kind === "llama3" && scaling.lowFreqFactor >= scaling.highFreqFactor) {
    const got = `${scaling.lowFreqFactor} and ${scaling.highFreqFactor}`;
    throw new ShapeError(`attribute scaling: lowFreqFactor must be below highFreqFactor: ${got}`);
  }
  return attrs;
}

const f = Math.fround;

/**
 * Radians per position of each pair of a head, [headDim / 2]: theta^(-2 i / headDim), scaled. Every
 * operation is rounded to float32 in the order in which the Hugging Face reference computes it.
 *
 * linear: divided by `factor` (Chen et al. 2023). llama3: frequencies whose wavelength exceeds
 * originalContext / lowFreqFactor are divided by `factor`, those below
 * originalContext / highFreqFactor stay, and between them the two are mixed by
 * (originalContext / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor).
 */
export function ropeFrequencies(attrs: RopeAttrs): Float32Array {
  const { headDim, theta, scaling } = attrs;
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const base = f(1 / f(Math.pow(f(theta), f((2 * i) / headDim))));
    return scaled(base, scaling);
  });
}

function scaled(frequency: number, scaling: RopeScaling): number {
  switch (scaling.kind) {
    case "none":
      return frequency;
    case "linear":
      return f(frequency / scaling.factor);
    case "llama3": {
      const { factor, lowFreqFactor, highFreqFactor, originalContext } = scaling;
      const wavelength = f(f(2 * Math.PI) / frequency);
      if (wavelength > originalContext / lowFreqFactor) return f(frequency / factor);
      if (wavelength < originalContext / highFreqFactor) return frequency;
      const ratio = f(f(originalContext / wavelength) - lowFreqFactor);
      const smooth = f(ratio / (highFreqFactor - lowFreqFactor));
      const low = f(f(f(1 - smooth) * frequency) / factor);
      return f(low + f(smooth * frequency));
    }
  }
}

/** Cosines and sines of one position: those of pair i at 2 i and 2 i + 1. */
export function rotation(position: number, frequencies: Float32Array): Float32Array {
  const out = new Float32Array(2 * frequencies.length);
  frequencies.forEach((frequency, i) => {
    const angle = f(position * frequency);
    out[2 * i] = Math.cos(angle);
    out[2 * i + 1] = Math.sin(angle);
  });
  return out;
}

/**
 * Turns one head, x[start, start + headDim), in place. Rotate-half: pair i is elements i and
 * i + headDim / 2 (Su et al. 2021, in the layout of Hugging Face checkpoints).
 */
export function rotateHead(x: Float32Array, start: number, turn: Float32Array): void {
  const half = turn.length / 2;
  for (let i = 0; i < half; i++) {
    const cos = turn[2 * i] ?? 0;
    const sin = turn[2 * i + 1] ?? 0;
    const a = x[start + i] ?? 0;
    const b = x[start + half + i] ?? 0;
    x[start + i] = f(a * cos) - f(b * sin);
    x[start + half + i] = f(b * cos) + f(a * sin);
  }
}

/** x [T, H·D], positions i32 [T] → f32 [T, H·D]: each head turned by its token's position. */
export const semantics: OpSemantics<RopeAttrs> = {
  name: "rope",
  summary: "Turns each head by its token's position.",
  traits: traits(),
  parseAttrs: (attrs) => checkRope(readRope(attrs, "")),
  infer({ headDim }, inputs) {
    requireInputs(inputs, 2, 2, "x, positions");
    const x = inputAt(inputs, 0, "x");
    requireRuns(floatActivation(x, "x").columns, headDim, "headDim");
    requireTokenVector(inputAt(inputs, 1, "positions"), "positions");
    return [withDType(x, "f32")];
  },
  evaluate(attrs, inputs, ctx) {
    const positions = intsOf(inputAt(inputs, 1, "positions"));
    const { columns } = extent(inputAt(inputs, 0, "x"));
    const out = floatsAt(inputs, 0).slice();
    const frequencies = ropeFrequencies(attrs);
    positions.forEach((position, token) => {
      const turn = rotation(position, frequencies);
      for (let column = 0; column < columns; column += attrs.headDim) {
        rotateHead(out, token * columns + column, turn);
      }
    });
    return resultOf(semantics, attrs, inputs, ctx, out);
  },
};
