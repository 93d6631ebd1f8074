/** @file Uses @mpk/dsl with the IR and the ops' semantics: a model, its Program, a few tokens. */
import { defineModel } from "@mpk/dsl";
import { createInterpreter, verifyProgram } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops/semantics";

const hidden = 8;
const vocabulary = 11;

const program = defineModel(
  { name: "small", limits: { maxTokens: 4, maxContext: 16 } },
  (model) => {
    const positions = model.positions();
    const embedding = model.weight("embedding", [vocabulary, hidden]);
    const x = model.layers(2, embedding.lookup(model.ids()), (layer, x) => {
      const h = x.rmsNorm(layer.weight("norm", [hidden]), { eps: 1e-6 });
      const rotate = { headDim: 4, theta: 100 };
      const q = h.matmul(layer.weight("q", [hidden, hidden])).rope(positions, rotate);
      const k = h.matmul(layer.weight("k", [4, hidden])).rope(positions, rotate);
      const v = h.matmul(layer.weight("v", [4, hidden]));
      const cache = layer.kvCache({ kvHeads: 1, headDim: 4 });
      const attended = q.attention(k, v, cache, { positions }).map((a) => a * Math.tanh(a) + 0.5);
      return x.add(attended.matmul(layer.weight("o", [hidden, hidden])));
    });
    const logits = x.last().matmul(embedding);
    return { logits, token: logits.sample() };
  },
);

const limits = { maxTokens: 1, maxContext: 1 };
const wrong = (): unknown =>
  defineModel({ name: "wrong", limits }, (model) => {
    const x = model.weight("a", [4, 8]);
    // @ts-expect-error 8 columns do not fit 12: the compiler says so before anything runs.
    return { y: x.matmul(model.weight("b", [3, 12])) };
  });

const interpreter = createInterpreter(program, semanticsTable, {
  precision: "bf16",
  weights: (name) => {
    const shape = program.values[
      program.weights.find((w) => w.parts[0]?.tensor === name)?.value ?? -1
    ]?.type.shape.map(Number);
    if (shape === undefined) return null;
    const count = shape.reduce((product, size) => product * size, 1);
    const seed = name.length;
    return { shape, data: Float32Array.from({ length: count }, (_, i) => Math.sin(seed + i * i)) };
  },
});
const tokens: number[] = [];
let ids: readonly number[] = [1, 2, 3];
for (let step = 0; step < 5; step++) {
  const { token } = interpreter.step({ ids }).outputs;
  ids = [...(token?.data ?? [])];
  tokens.push(...ids);
}

console.log(`violations: ${verifyProgram(program, semanticsTable).length}`);
console.log(`layers: ${new Set(program.ops.map((op) => op.scope).filter((s) => s !== "")).size}`);
console.log(`tokens: ${tokens.length}, all in range: ${tokens.every((t) => t < vocabulary)}`);
try {
  wrong();
} catch (error) {
  console.log(`wrong: ${error instanceof Error ? error.message : "no error"}`);
}
