/** @file Kernel parameters as bytes, by the Manifest's layout. Pure. */
import type { ParamField, ParamType } from "@mpk/cuda/manifest";
import { inputError } from "../errors.ts";

export type ParamValue = number | bigint | readonly number[];

const writers = {
  ptr: (view, at, value) => view.setBigUint64(at, BigInt(value), true),
  u64: (view, at, value) => view.setBigUint64(at, BigInt(value), true),
  f64: (view, at, value) => view.setFloat64(at, Number(value), true),
  u32: (view, at, value) => view.setUint32(at, Number(value), true),
  i32: (view, at, value) => view.setInt32(at, Number(value), true),
  f32: (view, at, value) => view.setFloat32(at, Number(value), true),
} as const satisfies Record<
  ParamType,
  (view: DataView, at: number, value: number | bigint) => void
>;

const typeBytes = { ptr: 8, u64: 8, f64: 8, u32: 4, i32: 4, f32: 4 } as const satisfies Record<
  ParamType,
  number
>;

/**
 * The struct's bytes. Every field must be given: a Manifest with a field that this runtime does
 * not know is refused, not launched with a zero in it.
 */
export function encodeParams(
  layout: { readonly bytes: number; readonly fields: readonly ParamField[] },
  values: Readonly<Record<string, ParamValue>>,
): Uint8Array {
  const out = new Uint8Array(layout.bytes);
  const view = new DataView(out.buffer);
  for (const field of layout.fields) {
    const value = values[field.name];
    if (value === undefined) {
      throw inputError(
        `manifest: kernel parameter ${field.name} is unknown to this runtime`,
        "compile again with the same version of mpk",
      );
    }
    const items = typeof value === "object" ? value : [value];
    if (items.length > field.count) {
      throw inputError(
        `manifest: kernel parameter ${field.name} holds ${field.count} values, got ${items.length}`,
        "give fewer (EOS ids?)",
      );
    }
    items.forEach((item, i) =>
      writers[field.type](view, field.offset + i * typeBytes[field.type], item),
    );
  }
  return out;
}
