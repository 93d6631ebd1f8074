/** @file Number formats: bf16 rounding and conversions, and small helpers on tensors. Pure. */
import { ShapeError } from "./semantics.ts";
import type { Precision, Tensor } from "./semantics.ts";
import type { Dim, DType, TensorType } from "./types.ts";

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);
const quietNaN = 0x7fc0;

function roundBits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** A number rounded to bf16, to nearest even; overflow gives an infinity. */
export function toBf16(x: number): number {
  scratch[0] = x;
  scratchBits[0] = (roundBits(scratchBits[0] ?? 0) << 16) >>> 0;
  return scratch[0];
}

/** The 16 bits of `x` rounded to bf16, to nearest even. NaNs stay NaNs (made quiet). */
export function bf16BitsOf(x: number): number {
  scratch[0] = x;
  return Number.isNaN(x) ? quietNaN : roundBits(scratchBits[0] ?? 0);
}

/** The value of a bf16 given as 16 bits. Exact. */
export function bf16FromBits(bits: number): number {
  scratchBits[0] = (bits << 16) >>> 0;
  return scratch[0] ?? 0;
}

/** Each element rounded to bf16; the input is left as it was. */
export function roundToBf16(data: Float32Array): Float32Array {
  const out = new Float32Array(data);
  const bits = new Uint32Array(out.buffer);
  for (let i = 0; i < bits.length; i++) bits[i] = roundBits(bits[i] ?? 0) << 16;
  return out;
}

/** bf16 bits of each element, rounded to nearest even. */
export function toBf16Bits(data: Float32Array): Uint16Array {
  const bits = new Uint32Array(data.buffer, data.byteOffset, data.length);
  const out = new Uint16Array(data.length);
  for (let i = 0; i < out.length; i++) out[i] = roundBits(bits[i] ?? 0);
  return out;
}

/** float32 values of bf16 bits. Exact. */
export function fromBf16Bits(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  const words = new Uint32Array(out.buffer);
  for (let i = 0; i < words.length; i++) words[i] = (bits[i] ?? 0) << 16;
  return out;
}

/**
 * What converting a number to `to` means at a precision: `f32` rounds to float32, `bf16` rounds to
 * bf16 only at precision "bf16", `i32` drops the fraction (as a C cast does).
 */
export function roundTo(to: DType, x: number, precision: Precision): number {
  return roundRules[to](x, precision);
}

const roundRules = {
  f32: (x) => Math.fround(x),
  bf16: (x, precision) => (precision === "bf16" ? toBf16(x) : Math.fround(x)),
  i32: (x) => Math.fround(Math.trunc(x)),
} as const satisfies Record<DType, (x: number, precision: Precision) => number>;

/**
 * A run of numbers converted to `to` (see `roundTo`). Always a new array: Int32Array for `i32`,
 * else Float32Array.
 */
export function castData(
  data: Float32Array | Int32Array,
  to: DType,
  precision: Precision,
): Float32Array | Int32Array {
  if (to === "i32") return Int32Array.from(data, Math.trunc);
  const floats = new Float32Array(data);
  return to === "bf16" && precision === "bf16" ? roundToBf16(floats) : floats;
}

/** Number of elements of a concrete shape. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((count, dim) => count * dim, 1);
}

/** A shape with `T` replaced by the step's token count. */
export function bindShape(shape: readonly Dim[], tokens: number): number[] {
  return shape.map((dim) => (dim === "T" ? tokens : dim));
}

/** A tensor of a type, in a step of `tokens`. Throws `ShapeError` if the data does not fill it. */
export function tensorOf(
  type: TensorType,
  tokens: number,
  data: Float32Array | Int32Array,
): Tensor {
  const shape = bindShape(type.shape, tokens);
  const expected = elementCount(shape);
  if (data.length !== expected) {
    const text = `${type.dtype} [${shape.join(", ")}]`;
    throw new ShapeError(`a tensor ${text} has ${expected} elements, got ${data.length}`);
  }
  return { type, shape, data };
}

/**
 * A tensor's data as float32 numbers. Throws `ShapeError` where it holds integers: ids and
 * positions are never arithmetic operands.
 */
export function floatsOf(tensor: Tensor): Float32Array {
  if (tensor.data instanceof Float32Array) return tensor.data;
  throw new ShapeError(`expected f32 or bf16 numbers, got ${tensor.type.dtype}; cast to f32 first`);
}

/** A tensor's data as integers. Throws `ShapeError` where it holds floating-point numbers. */
export function intsOf(tensor: Tensor): Int32Array {
  if (tensor.data instanceof Int32Array) return tensor.data;
  throw new ShapeError(`expected i32 numbers, got ${tensor.type.dtype}; cast to i32 first`);
}

/** Rows of a shape: its first dim (1 for a scalar). */
export function rowsOf(shape: readonly number[]): number {
  return shape[0] ?? 1;
}

/** Columns of a shape: its dims after the first, flattened. */
export function columnsOf(shape: readonly number[]): number {
  return elementCount(shape.slice(1));
}
