/** @file A small Program with every kind of value, and its weights. */
import { defineProgram, exprToJson } from "../src/index.ts";
import type { Program, WeightSource } from "../src/index.ts";
import { testTable } from "./table.ts";

/** x = table[ids]; y = remember(x); token = publish(y · wᵀ + b). */
export function sampleProgram(): Program {
  const options = {
    name: "sample",
    limits: { maxTokens: 4, maxContext: 6 },
    table: testTable,
  };
  return defineProgram(options, (b) => {
    const site = { file: "sample.ts", line: 12, column: 5 };
    const table = b.weight("table", { dtype: "bf16", shape: [5, 4] });
    const [x] = b.op({ kind: "lookup", inputs: [b.input("ids"), table], site });
    const kv = b.state("kv", { kvHeads: 2, headDim: 2 });
    const scope = "layers.0";
    const [y] = b.op({ kind: "remember", inputs: [x!], states: [kv], scope, names: ["y"] });
    const parts = [{ tensor: "w.top", rows: 1 }, { tensor: "w.bottom", rows: 2 }];
    const w = b.weight("w", { dtype: "f32", shape: [3, 4] }, parts);
    const bias = b.weight("bias", { dtype: "f32", shape: [3] });
    const [z] = b.op({ kind: "matmul", inputs: [y!, w], scope });
    const expr = { op: "add", x: { op: "arg", index: 0 }, y: { op: "arg", index: 1 } } as const;
    const attrs = { expr: exprToJson(expr) };
    const [logits] = b.op({ kind: "map", inputs: [z!, bias], attrs, scope });
    const [token] = b.op({ kind: "publish", inputs: [logits!] });
    return { logits: logits!, token: token! };
  });
}

const tensors: Readonly<Record<string, { shape: number[]; data: number[] }>> = {
  table: { shape: [5, 4], data: Array.from({ length: 20 }, (_, i) => i / 3) },
  "w.top": { shape: [1, 4], data: [1, 0, 0, 0] },
  "w.bottom": { shape: [2, 4], data: [0, 1, 0, 0, 1, 1, 1, 1] },
  bias: { shape: [3], data: [0, 10, 20] },
};

/** Weights of `sampleProgram`. */
export const sampleWeights: WeightSource = (name) => {
  const found = tensors[name];
  return found && { shape: found.shape, data: Float32Array.from(found.data) };
};
