/** @file Uses @mpk/ir alone: an op table of one's own, a Program, its text, its results. */
import {
  createInterpreter, defineProgram, floatsOf, intsOf, parseProgram, printProgram, ShapeError,
  tensorOf, verifyProgram,
} from "@mpk/ir";
import type { OpSemantics, SemanticsTable, Tensor, TensorType, Traits } from "@mpk/ir";

const traits: Traits = {
  pointwise: false, contraction: false, rowNorm: false, view: false, cast: false, stateful: false,
  effect: false,
};

function operand<E>(list: readonly E[], index: number): E {
  const found = list[index];
  if (found === undefined) throw new ShapeError(`operand ${index} is missing`);
  return found;
}

/** The table's rows of the step's ids, each element multiplied by `by`. */
const lookup: OpSemantics<{ readonly by: number }> = {
  name: "lookup",
  summary: "Rows of a table, scaled.",
  traits,
  parseAttrs({ by }) {
    if (typeof by !== "number") throw new ShapeError("by: expected a number");
    return { by };
  },
  infer(_attrs, inputs): readonly TensorType[] {
    return [{ dtype: "f32", shape: ["T", operand(operand(inputs, 1).shape, 1)] }];
  },
  evaluate({ by }, inputs, ctx): readonly Tensor[] {
    const table = operand(inputs, 1);
    const width = operand(table.shape, 1);
    const ids = [...intsOf(operand(inputs, 0))];
    const rows = ids.map((id) => floatsOf(table).subarray(id * width, (id + 1) * width));
    const data = Float32Array.from(rows.flatMap((row) => [...row]), (x) => x * by);
    return [tensorOf({ dtype: "f32", shape: ["T", width] }, ctx.tokens, data)];
  },
};

const table: SemanticsTable = new Map([[lookup.name, lookup as unknown as OpSemantics<never>]]);

const program = defineProgram(
  { name: "two-lookups", limits: { maxTokens: 4, maxContext: 8 }, table },
  (b) => {
    const rows = b.weight("rows", { dtype: "f32", shape: [3, 2] });
    const inputs = [b.input("ids"), rows];
    const [x] = b.op({ kind: "lookup", inputs, attrs: { by: 10 }, names: ["x"] });
    return { x: operand([x], 0) ?? 0 };
  },
);

const text = printProgram(program);
const parsed = parseProgram(text);
const interpreter = createInterpreter(parsed, table, {
  precision: "f32",
  weights: () => ({ shape: [3, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6) }),
});
const { outputs } = interpreter.step({ ids: [2, 0] });

const broken = { ...program, ops: program.ops.map((op) => ({ ...op, attrs: { by: "ten" } })) };
console.log(`round trip: ${printProgram(parsed) === text}`);
console.log(`violations: ${verifyProgram(program, table).length}`);
console.log(`broken: ${verifyProgram(broken, table)[0]?.message ?? "not noticed"}`);
console.log(`x: ${[...(outputs["x"]?.data ?? [])].join(" ")}`);
