/** @file Runs one op's reference on literal tensors, for tests that read as documentation. */
import { createKvState, elementCount, tensorOf, toBf16 } from "@mpk/ir";
import type { DType, Dim, EvalContext, Json, KvState, Tensor, TensorType } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops/semantics";

export type Attrs = { readonly [key: string]: Json };

/** A tensor of concrete shape; `T` in `dims` stands for its first dim. */
export function tensor(dtype: DType, dims: readonly Dim[], values: readonly number[]): Tensor {
  const rest = elementCount(dims.filter((dim) => dim !== "T"));
  const data = dtype === "i32" ? Int32Array.from(values) : Float32Array.from(values);
  return tensorOf({ dtype, shape: dims }, dims[0] === "T" ? values.length / rest : 1, data);
}

export const f32 = (dims: readonly Dim[], values: readonly number[]): Tensor =>
  tensor("f32", dims, values);
export const bf16 = (dims: readonly Dim[], values: readonly number[]): Tensor =>
  tensor("bf16", dims, values.map(toBf16));
export const i32 = (dims: readonly Dim[], values: readonly number[]): Tensor =>
  tensor("i32", dims, values);

/** A type from text: `typed("bf16", 8, 4)`. */
export const typed = (dtype: DType, ...shape: readonly Dim[]): TensorType => ({ dtype, shape });

/** An op's semantics with its attributes parsed. */
export function opOf(name: string, attrs: Attrs): {
  infer(...inputs: readonly TensorType[]): readonly TensorType[];
  run(inputs: readonly Tensor[], step?: Partial<EvalContext>, state?: KvState): Tensor;
} {
  const semantics = semanticsTable.get(name);
  if (semantics === undefined) throw new Error(`no op is called ${name}`);
  const own = semantics.parseAttrs(attrs);
  return {
    infer: (...inputs) => semantics.infer(own, inputs),
    run(inputs, step = {}, state = createKvState({ kvHeads: 1, headDim: 2 }, "f32")) {
      const tokens = inputs.find(({ type }) => type.shape[0] === "T")?.shape[0] ?? 1;
      const ctx: EvalContext = {
        precision: "f32",
        tokens,
        inputs: { ids: new Int32Array(tokens), positions: new Int32Array(tokens) },
        sampling: { temperature: 0, topK: 0, topP: 1, seed: 0n },
        state: () => state,
        ...step,
      };
      const states = semantics.traits.stateful ? [0] : [];
      const [result] = semantics.evaluate(own, inputs, ctx, states);
      if (result === undefined) throw new Error(`${name} gave no result`);
      return result;
    },
  };
}

/** A tensor's numbers, rounded for comparison with literals. */
export const values = ({ data }: Tensor): number[] => Array.from(data, (x) => Math.fround(x));
