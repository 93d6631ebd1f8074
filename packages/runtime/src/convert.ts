/** @file Number formats of checkpoints, to and from float32. Pure. */
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

export function isWeightDType(dtype: StoredDType): dtype is WeightDType {
  return (weightDTypes as readonly string[]).includes(dtype);
}

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** The bf16 nearest to a float32, ties to even; NaN stays NaN. */
export function bf16Bits(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0] ?? 0;
  if ((bits & 0x7fff_ffff) > 0x7f80_0000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The float32 that a bf16's 16 bits stand for. */
export function fromBf16(bits: number): number {
  scratchBits[0] = bits << 16;
  return scratch[0] ?? 0;
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

/** Stored little-endian bytes as float32, one per element. */
export function toFloat32(bytes: Uint8Array, dtype: WeightDType): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (dtype === "F32") {
    const out = new Float32Array(bytes.byteLength / 4);
    for (let i = 0; i < out.length; i++) out[i] = view.getFloat32(4 * i, true);
    return out;
  }
  const out = new Float32Array(bytes.byteLength / 2);
  const decode = dtype === "BF16" ? fromBf16 : fromF16;
  for (let i = 0; i < out.length; i++) out[i] = decode(view.getUint16(2 * i, true));
  return out;
}

/** Stored bytes as bf16 bits: BF16 as they are, the others rounded to nearest even. */
export function toBf16(bytes: Uint8Array, dtype: WeightDType): Uint16Array {
  if (dtype === "BF16") {
    const copy = bytes.slice();
    return new Uint16Array(copy.buffer, 0, copy.byteLength / 2);
  }
  return Uint16Array.from(toFloat32(bytes, dtype), bf16Bits);
}

/** Narrows a tensor's dtype to one that can be a weight. */
export function requireWeightDType(dtype: StoredDType, who: string): WeightDType {
  if (isWeightDType(dtype)) return dtype;
  throw inputError(
    `${who}: dtype is ${dtype}, expected one of ${weightDTypes.join(", ")}`,
    "convert the checkpoint to bfloat16 (model.to(torch.bfloat16).save_pretrained(...))",
  );
}
