/** @file Long lists of numbers as text: the bytes of 32-bit words, little-endian, in base64. Pure. */

/** `i32` or `f32`, a colon, base64. */
export type Packed = string;

const text = (bytes: ArrayBuffer): string => Buffer.from(bytes).toString("base64");

/** Whole numbers that fit 32 bits. */
export const ints = (list: ArrayLike<number>): Packed => `i32:${text(Int32Array.from(list).buffer)}`;

/** To 24 bits: nanoseconds of a step keep theirs. */
export const floats = (list: ArrayLike<number>): Packed =>
  `f32:${text(Float32Array.from(list).buffer)}`;
