/** @file Weights as tensors: checkpoint tensors stacked part by part, converted to float32 once. */
import { sameShape } from "./describe.ts";
import { castData, elementCount, fromBf16Bits, tensorOf } from "./numerics.ts";
import type { Precision, Tensor } from "./semantics.ts";
import { wholeShape } from "./ranks/slices.ts";
import type { Program, Value, ValueId, Weight, WeightPart } from "./types.ts";

/** A tensor of a checkpoint: float32 numbers, or bf16 as its bits. */
export interface WeightData {
  readonly data: Float32Array | Uint16Array;
  readonly shape: readonly number[];
}

/** The checkpoint's tensor of a name; may return null or undefined where there is none. */
export type WeightSource = (tensor: string) => WeightData | null | undefined;

/** A checkpoint tensor that is missing or has another shape than the weight needs. */
export class WeightError extends Error {
  override readonly name = "WeightError";
}

/**
 * Every weight of a program in float32; bf16 weights are rounded at precision "bf16". Weights of
 * one and the same checkpoint tensor share memory. Throws `WeightError`.
 */
export function loadWeights(
  program: Program,
  source: WeightSource,
  precision: Precision,
): ReadonlyMap<ValueId, Tensor> {
  const whole = new Map<string, Float32Array>();
  const loaded = new Map<ValueId, Tensor>();
  for (const weight of program.weights) {
    const value = program.values[weight.value];
    if (!value) throw new WeightError(`weight value ${weight.value} does not exist`);
    // Tied weights are one tensor used as several weights: convert it once.
    const key = JSON.stringify([value.type.dtype, weight.parts]);
    const data = whole.get(key) ?? stack(value, weight, source, precision);
    whole.set(key, data);
    loaded.set(value.id, tensorOf(value.type, 1, data));
  }
  return loaded;
}

function stack(
  value: Value,
  weight: Weight,
  source: WeightSource,
  precision: Precision,
): Float32Array {
  const out = new Float32Array(elementCount(value.type.shape.map(Number)));
  let offset = 0;
  for (const part of weight.parts) {
    const { tensor } = part;
    const found = source(tensor);
    if (!found) throw new WeightError(`the checkpoint has no tensor ${tensor} for %${value.name}`);
    const shape = value.type.shape.length === 0 ? [] : wholeShape(value.type, part);
    const count = elementCount(shape);
    if (!sameShape(found.shape, shape) || found.data.length !== count) {
      const got = `[${found.shape.join(", ")}] with ${found.data.length} numbers`;
      throw new WeightError(
        `tensor ${tensor} of %${value.name}: expected [${shape.join(", ")}], got ${got}`,
      );
    }
    const floats = found.data instanceof Uint16Array ? fromBf16Bits(found.data) : found.data;
    const cast = castData(floats, value.type.dtype, precision);
    const taken = sliceOf(cast, shape, part);
    out.set(taken, offset);
    offset += taken.length;
  }
  return out;
}

/** The part's rows or columns of a tensor [rows, ...] that is there as a whole. */
function sliceOf(
  data: Float32Array | Int32Array,
  shape: readonly number[],
  { slice }: WeightPart,
): Float32Array | Int32Array {
  if (slice === undefined) return data;
  if (slice.axis === 0) {
    const size = data.length / slice.of;
    return data.subarray(slice.index * size, (slice.index + 1) * size);
  }
  const [rows = 1, ...inner] = shape;
  const columns = elementCount(inner);
  const width = columns / slice.of;
  const out = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const from = row * columns + slice.index * width;
    out.set(data.subarray(from, from + width), row * width);
  }
  return out;
}
