/** @file Number formats of checkpoints, to and from float32. Pure. */
import { fromBf16Bits, toBf16Bits } from "@mpk/ir";
import { inputError } from "./errors.ts";

/** Number formats a safetensors file may hold, with the bits of one element. */
export const storedBits = {
  BOOL: 8, U8: 8, I8: 8, F8_E5M2: 8, F8_E4M3: 8, F8_E8M0: 8,
  I16: 16, U16: 16, F16: 16, BF16: 16,
  I32: 32, U32: 32, F32: 32,
  F64: 64, I64: 64, U64: 64, C64: 64,
  F6_E2M3: 6, F6_E3M2: 6, F4: 4,
} as const;

export type StoredDType = keyof typeof storedBits;

/** The formats whose tensors can be weights here. */
export const weightDTypes = ["BF16", "F16", "F32"] as const satisfies readonly StoredDType[];

export type WeightDType = (typeof weightDTypes)[number];

/** Whether a stored tensor of this format can be a weight. */
export function isWeightDType(dtype: StoredDType): dtype is WeightDType {
  return (weightDTypes as readonly string[]).includes(dtype);
}

/** The float32 that an IEEE half's 16 bits stand for. */
export function fromF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** 16-bit words at any alignment; hosts that run CUDA are little-endian, as the files are. */
function words(bytes: Uint8Array): Uint16Array {
  if (bytes.byteOffset % 2 === 0) {
    return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  }
  const copy = bytes.slice();
  return new Uint16Array(copy.buffer, 0, copy.byteLength / 2);
}

const decoders = {
  BF16: (bytes) => fromBf16Bits(words(bytes)),
  F16: (bytes) => Float32Array.from(words(bytes), fromF16),
  F32: (bytes) => new Float32Array(bytes.slice().buffer),
} as const satisfies Record<WeightDType, (bytes: Uint8Array) => Float32Array>;

/** Stored little-endian bytes as float32, one per element. */
export function toFloat32(bytes: Uint8Array, dtype: WeightDType): Float32Array {
  return decoders[dtype](bytes);
}

/** Stored bytes as bf16 bits: BF16 as they are (shared), the others rounded to nearest even. */
export function toBf16Words(bytes: Uint8Array, dtype: WeightDType): Uint16Array {
  return dtype === "BF16" ? words(bytes) : toBf16Bits(toFloat32(bytes, dtype));
}

/** Narrows a tensor's dtype to one that can be a weight. */
export function requireWeightDType(dtype: StoredDType, who: string): WeightDType {
  if (isWeightDType(dtype)) return dtype;
  throw inputError(
    `${who}: dtype is ${dtype}, expected one of ${weightDTypes.join(", ")}`,
    "convert the checkpoint to bfloat16 (model.to(torch.bfloat16).save_pretrained(...))",
  );
}
