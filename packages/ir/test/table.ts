/** @file A tiny op table for tests of the IR alone. */
import {
  compileExpr, exprFromJson, floatsOf, intsOf, ShapeError, tensorOf, typeText,
} from "../src/index.ts";
import type {
  EvalContext, Json, OpSemantics, SemanticsTable, Tensor, TensorType, Traits, ValueId,
} from "../src/index.ts";

const plain: Traits = {
  pointwise: false,
  contraction: false,
  rowNorm: false,
  view: false,
  cast: false,
  stateful: false,
  effect: false,
};

type Attrs = { readonly [key: string]: Json };

interface TestOp {
  readonly name: string;
  readonly traits?: Partial<Traits>;
  parseAttrs?(attrs: Attrs): Attrs;
  infer(attrs: Attrs, inputs: readonly TensorType[]): readonly TensorType[];
  evaluate(
    inputs: readonly Tensor[],
    ctx: EvalContext,
    states: readonly ValueId[],
    attrs: Attrs,
  ): readonly (Float32Array | Int32Array)[];
}

function toSemantics(op: TestOp): OpSemantics<never> {
  const semantics: OpSemantics<Attrs> = {
    name: op.name,
    summary: `${op.name}, for tests.`,
    traits: { ...plain, ...op.traits },
    parseAttrs: op.parseAttrs ?? ((attrs) => attrs),
    infer: op.infer,
    evaluate(attrs, inputs, ctx, states) {
      const types = op.infer(attrs, inputs.map((input) => input.type));
      return op.evaluate(inputs, ctx, states, attrs).map((data, i) =>
        tensorOf(at(types, i), ctx.tokens, data));
    },
  };
  return semantics as unknown as OpSemantics<never>;
}

function at<E>(list: readonly E[], i: number): E {
  const item = list[i];
  if (item === undefined) throw new ShapeError(`expected at least ${i + 1} operands`);
  return item;
}

/** Row i of the table for id i. */
const lookup: TestOp = {
  name: "lookup",
  infer: (_attrs, inputs) => [{ dtype: "f32", shape: ["T", at(at(inputs, 1).shape, 1)] }],
  evaluate(inputs) {
    const width = Number(at(inputs, 1).shape[1]);
    const rows = floatsOf(at(inputs, 1));
    const ids = Array.from(intsOf(at(inputs, 0)));
    const found = ids.flatMap((id) => [...rows.subarray(id * width, (id + 1) * width)]);
    return [Float32Array.from(found)];
  },
};

/** x [R, K] times w [N, K] transposed. */
const matmul: TestOp = {
  name: "matmul",
  traits: { contraction: true },
  infer(_attrs, inputs) {
    const [x, w] = [at(inputs, 0), at(inputs, 1)];
    if (x.shape[1] !== w.shape[1]) {
      throw new ShapeError(`inner dimensions differ, ${typeText(x)} and ${typeText(w)}`);
    }
    return [{ dtype: "f32", shape: [at(x.shape, 0), at(w.shape, 0)] }];
  },
  evaluate(inputs) {
    const [x, w] = [at(inputs, 0), at(inputs, 1)];
    const [rows, k, n] = [at(x.shape, 0), at(x.shape, 1), at(w.shape, 0)];
    const out = new Float32Array(rows * n);
    for (let i = 0; i < out.length; i++) {
      let sum = 0;
      for (let j = 0; j < k; j++) {
        sum += x.data[Math.floor(i / n) * k + j]! * w.data[(i % n) * k + j]!;
      }
      out[i] = sum;
    }
    return [out];
  },
};

const map: TestOp = {
  name: "map",
  traits: { pointwise: true },
  parseAttrs: (attrs) => ({ expr: exprFromJson(attrs["expr"]) }),
  infer: (_attrs, inputs) => [at(inputs, 0)],
  evaluate(inputs, ctx, _states, attrs) {
    const f = compileExpr(exprFromJson(attrs["expr"]), ctx.precision);
    const data = inputs.map(floatsOf);
    return [at(data, 0).map((_, i) => f(data.map((d) => d[i % d.length]!)))];
  },
};

/** Appends x as keys and values, and gives the sum of all keys so far. */
const remember: TestOp = {
  name: "remember",
  traits: { stateful: true },
  infer: (_attrs, inputs) => [at(inputs, 0)],
  evaluate(inputs, ctx, states) {
    const x = floatsOf(at(inputs, 0));
    const kv = ctx.state(at(states, 0));
    const width = kv.kvHeads * kv.headDim;
    const out = new Float32Array(x.length);
    ctx.inputs.positions.forEach((position, row) => {
      const key = x.slice(row * width, (row + 1) * width);
      kv.write(position, key, key);
      for (let p = 0; p <= position; p++) {
        kv.k(p).forEach((number, i) => { out[row * width + i]! += number; });
      }
    });
    return [out];
  },
};

const publish: TestOp = {
  name: "publish",
  traits: { effect: true },
  infer: () => [{ dtype: "i32", shape: [1] }],
  evaluate: () => [Int32Array.of(7)],
};

/** lookup, matmul, map, remember, publish. */
export const testTable: SemanticsTable = new Map(
  [lookup, matmul, map, remember, publish].map((op) => [op.name, toSemantics(op)]),
);
