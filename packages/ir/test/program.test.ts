/** @file Building, verifying and interpreting Programs. */
import { describe, expect, it } from "vitest";
import {
  createBuilder, createInterpreter, ShapeError, toBf16, verifyProgram,
} from "../src/index.ts";
import type { Op, Program, Value } from "../src/index.ts";
import { sampleProgram, sampleWeights } from "./sample.ts";
import { testTable } from "./table.ts";

const program = sampleProgram();

describe("builder", () => {
  it("numbers what is given first, then results in op order", () => {
    expect(program.values.map((value) => value.name)).toEqual([
      "table", "ids", "kv", "w", "bias", "lookup", "y", "layers.0.matmul", "layers.0.map",
      "publish",
    ]);
    expect(program.values.map((value) => value.id)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(Object.isFrozen(program.ops[0]?.inputs)).toBe(true);
  });

  it("shares a weight asked for twice, and refuses a second type", () => {
    const limits = { maxTokens: 1, maxContext: 1 };
    const b = createBuilder({ name: "tied", limits, table: testTable });
    const first = b.weight("w", { dtype: "bf16", shape: [8, 4] });
    expect(b.weight("w", { dtype: "bf16", shape: [8, 4] })).toBe(first);
    expect(() => b.weight("w", { dtype: "f32", shape: [8, 4] })).toThrow(
      "weight w is bf16 [8, 4] and cannot be f32 [8, 4] as well",
    );
  });

  it("names op, scope and call site where the shape rule fails", () => {
    const limits = { maxTokens: 1, maxContext: 1 };
    const b = createBuilder({ name: "bad", limits, table: testTable });
    const table = b.weight("table", { dtype: "bf16", shape: [8, 4] });
    const [x] = b.op({ kind: "lookup", inputs: [b.input("ids"), table] });
    const w = b.weight("w", { dtype: "bf16", shape: [8, 5] });
    const site = { file: "llama.ts", line: 41, column: 7 };
    const bad = { kind: "matmul", inputs: [x!, w], scope: "layers.3", site };
    expect(() => b.op(bad)).toThrow(
      "matmul in layers.3 at llama.ts:41:7: inner dimensions differ, f32 [T, 4] and bf16 [8, 5]",
    );
    expect(() => b.op({ kind: "matmull", inputs: [x!, w] })).toThrow("did you mean matmul?");
    expect(() => b.op(bad)).toThrow(ShapeError);
  });
});

/** The sample program with some fields replaced. */
const changed = (change: Partial<Program>): Program => ({ ...program, ...change });
const withOp = (index: number, change: Partial<Op>): Program =>
  changed({ ops: program.ops.map((op, i) => (i === index ? { ...op, ...change } : op)) });
const withValue = (id: number, change: Partial<Value>): Program =>
  changed({ values: program.values.map((v) => (v.id === id ? { ...v, ...change } : v)) });
const firstOps = [program.ops[1]!, program.ops[0]!, ...program.ops.slice(2)];
const f32 = "f32" as const;

describe("verifier", () => {
  it("accepts a program that was built", () => {
    expect(verifyProgram(program, testTable)).toEqual([]);
  });

  const broken: readonly (readonly [string, Program, string])[] = [
    ["ids", withOp(0, { inputs: [1, 99] }), "lookup at sample.ts:12:5: input 1 is value 99; ids"],
    ["ids", changed({ values: program.values.toReversed() }), "%publish is number 0, but its id"],
    ["limits", changed({ limits: { maxTokens: 8, maxContext: 4 } }), "maxTokens 8 exceeds maxC"],
    ["names", withValue(6, { name: "w" }), "values 3 and 6 are both called %w"],
    ["order", changed({ ops: firstOps }), "reads %lookup, which lookup at sample.ts:12:5 defines"],
    ["order", withOp(1, { outputs: [5] }), "%lookup is defined by lookup at sample.ts:12:5 too"],
    ["order", changed({ ops: program.ops.slice(0, 4) }), "%publish is defined by no op"],
    ["types", withValue(3, { type: { dtype: f32, shape: ["T", 4] } }), "%w: f32 [T, 4] is a wei"],
    ["types", withValue(6, { type: { dtype: f32, shape: [4, "T"] } }), "T is the first dim only"],
    ["types", withValue(2, { type: { dtype: f32, shape: [4] } }), "must be bf16 [2, 2, 2]"],
    ["weights", changed({ weights: program.weights.slice(1) }), "%table has no checkpoint tensors"],
    ["weights", changed({ weights: program.weights.map((w) => ({ ...w, parts: [] })) }), "got 0"],
    ["weights", changed({ weights: program.weights.toReversed() }), "weight %w is out of order"],
    ["states", withOp(1, { states: [] }), "remember in layers.0: is stateful, but has no state"],
    ["states", withOp(2, { states: [2] }), "matmul in layers.0: is not stateful, but has a state"],
    ["states", withOp(1, { inputs: [2] }), "reads state %kv as an input"],
    ["ops", withOp(2, { kind: "conv" }), "there is no op called conv"],
    ["ops", withOp(3, { attrs: { expr: { op: "arg", index: 0 }, x: NaN } }), "x is not plain JSON"],
    ["ops", withOp(2, { inputs: [5, 0] }), "expected output 0 to be f32 [T, 5], but %layers.0.ma"],
    ["outputs", changed({ outputs: {} }), "name at least one output"],
    ["outputs", changed({ outputs: { w: 3 } }), "output w is a weight"],
  ];
  it.each(broken)("%s: finds what is wrong (%#)", (rule, bad, message) => {
    const found = verifyProgram(bad, testTable).filter((violation) => violation.rule === rule);
    expect(found.map((violation) => violation.message).join("\n")).toContain(message);
  });

  it("wants state used before the op that opens the next step", () => {
    const ops = [program.ops[0]!, { ...program.ops[4]!, inputs: [5] }, ...program.ops.slice(1, 4)];
    expect(verifyProgram(changed({ ops }), testTable)).toEqual([{
      rule: "effects",
      message: "remember in layers.0: uses state after publish opened the next step; put it before",
      op: 2,
    }]);
  });
});

describe("interpreter", () => {
  const run = () =>
    createInterpreter(program, testTable, { weights: sampleWeights, precision: "f32" });

  it("keeps state across steps: a prompt at once or token by token gives the same", () => {
    const atOnce = run();
    const all = atOnce.step({ ids: [1, 4, 2] }).outputs["logits"];
    const oneByOne = run();
    const rows = [1, 4, 2].map((id) => oneByOne.step({ ids: [id] }).outputs["logits"]);
    expect(rows.flatMap((row) => [...row!.data])).toEqual([...all!.data]);
    expect(all?.shape).toEqual([3, 3]);
    expect(oneByOne.length).toBe(3);
    oneByOne.reset();
    expect(oneByOne.step({ ids: [1] }).outputs["logits"]).toEqual(rows[0]);
  });

  it("computes a position again", () => {
    const interpreter = run();
    const first = interpreter.step({ ids: [3, 1] });
    interpreter.step({ ids: [2, 2], positions: [1, 2] });
    expect(interpreter.step({ ids: [3, 1], positions: [0, 1] })).toEqual(first);
    expect(interpreter.length).toBe(2);
  });

  it("stacks the parts of a weight and rounds bf16 where asked to", () => {
    const logits = run().step({ ids: [1] }).outputs["logits"];
    const row = [4, 5, 6, 7].map((i) => Math.fround(i / 3));
    const sum = Math.fround(row.reduce((a, b) => a + b, 0));
    expect([...logits!.data]).toEqual([row[0], Math.fround(10 + row[1]!), Math.fround(20 + sum)]);
    const options = { weights: sampleWeights, precision: "bf16", keepValues: true } as const;
    const { values } = createInterpreter(program, testTable, options).step({ ids: [1] });
    expect([...values.get(5)!.data]).toEqual(row.map(toBf16));
  });

  it.each([
    [{ ids: [] }, "a step takes 1 to 4 tokens, got 0"],
    [{ ids: [5] }, "token 0 has id 5; ids of this model are 0 to 4"],
    [{ ids: [1, 0.5] }, "token 1 has id 0.5"],
    [{ ids: [1, 1], positions: [0] }, "got 1 positions for 2 token ids"],
    [{ ids: [1], positions: [1] }, "the first position is 1; it can be 0 to 0"],
    [{ ids: [1, 1], positions: [0, 2] }, "position 1 is 2; positions are consecutive from 0"],
  ])("refuses %j", (request, message) => {
    expect(() => run().step(request)).toThrow(message);
  });

  it("refuses to go beyond the context, and names a tensor that is missing or misshapen", () => {
    const interpreter = run();
    interpreter.step({ ids: [0, 0, 0, 0] });
    expect(() => interpreter.step({ ids: [0, 0, 0] })).toThrow(
      "position 6 is beyond the context of 6 tokens",
    );
    const load = (weights: typeof sampleWeights) => () =>
      createInterpreter(program, testTable, { weights, precision: "f32" });
    expect(load((name) => (name === "w.top" ? null : sampleWeights(name)))).toThrow(
      "the checkpoint has no tensor w.top for %w",
    );
    expect(load((name) => sampleWeights(name === "bias" ? "w.top" : name))).toThrow(
      "tensor bias of %bias: expected [3], got [1, 4] with 4 numbers",
    );
  });
});
