/** @file Uses @mpk/schedule with the IR alone: plans a program, proves the plan and runs it. */
import { createInterpreter, defineProgram } from "@mpk/ir";
import type { Program, ValueId } from "@mpk/ir";
import { createVirtualGpu, plan, verify, virtual } from "@mpk/schedule";
import { toySemantics, toyTable, toyWeights } from "@mpk/schedule/testing";

const limits = { maxTokens: 2, maxContext: 16 };

const program: Program = defineProgram({ name: "toy", limits, table: toySemantics }, (b) => {
  const one = (kind: string, inputs: readonly ValueId[], attrs = {}, states = [] as ValueId[]) => {
    const [output] = b.op({ kind, inputs, attrs, states });
    if (output === undefined) throw new Error(`${kind} has no output`);
    return output;
  };
  const table = b.weight("table", { dtype: "bf16", shape: [24, 32] });
  const x = one("lookup", [b.input("ids"), table]);
  const kv = b.state("kv", { kvHeads: 2, headDim: 16 });
  const mixed = one("mix", [x, b.input("positions")], { heads: 2, width: 16 }, [kv]);
  const w = b.weight("w", { dtype: "bf16", shape: [48, 32] });
  const y = one("matmul", [mixed, w], { groups: 1, slice: 0 });
  const head = b.weight("head", { dtype: "bf16", shape: [24, 48] });
  const logits = one("last", [one("matmul", [y, head], { groups: 1, slice: 0 })]);
  return { logits, token: one("choose", [logits]) };
});

const made = plan(program, toyTable, virtual(5));
const report = verify(made, toyTable);
console.log(`laws: ${report.laws.length}, ok: ${report.ok}`);

// A consumer that waits for too few producers is a race: the verifier must find it.
const threshold = made.events.threshold.map((count) => Math.max(1, count - 1));
const broken = verify({ ...made, events: { ...made.events, threshold } }, toyTable);
console.log(`lowered thresholds: ${broken.ok ? "not noticed" : "refused"}`);

const weights = toyWeights(program);
const interpreter = createInterpreter(program, toySemantics, { weights, precision: "bf16" });
const expected: number[] = [];
for (let ids = [3, 5]; expected.length < 4; ids = expected.slice(-1))
  expected.push(Number(interpreter.step({ ids }).outputs["token"]?.data[0]));

const agree = [1, 2, 3].map((seed) => {
  const gpu = createVirtualGpu(made, toyTable, { weights, precision: "bf16", seed });
  const steps = [...gpu.run({ prompt: [3, 5], maxNew: 4 })];
  return steps.map(({ token }) => token).join() === expected.join();
});
console.log(`tokens: ${expected.length}, the same under ${agree.filter(Boolean).length} interleavings`);
