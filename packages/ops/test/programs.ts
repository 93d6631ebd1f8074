/** @file Programs around random instances of single ops, for the emitter. */
import { createBuilder, exprToJson, parseExpr } from "@mpk/ir";
import type { Json, Program, ProgramBuilder, TensorType, ValueId } from "@mpk/ir";
import { scheduleTable, semanticsTable } from "@mpk/ops";
import { bodyTable } from "@mpk/ops/cuda";
import { emit, findTarget } from "@mpk/cuda";
import { plan, virtual } from "@mpk/schedule";
import type { Case } from "./cases.ts";

/** Enough rows for every token that a random op may choose. */
const tableRows = 600;

type Attrs = { readonly [key: string]: Json };

interface Place {
  readonly b: ProgramBuilder;
  readonly scope: string;
}

const one = ({ b, scope }: Place, kind: string, inputs: readonly ValueId[], attrs: Attrs = {}) =>
  b.op({ kind, inputs, attrs, scope })[0]!;

/** A value of a type: step data, a weight, or an activation made by small ops. */
function valueOf(at: Place, type: TensorType, isWeight: boolean, name: string): ValueId {
  const { b, scope } = at;
  const [rows = 1, ...rest] = type.shape;
  if (type.dtype === "i32" && rest.length === 0) {
    return b.input(name.startsWith("embedding") ? "ids" : "positions");
  }
  if (isWeight || (rest.length === 0 && rows !== "T")) {
    // A table has a row for each token.
    const shape = name === "embedding1" ? [tableRows, ...rest] : type.shape;
    return b.weight(`${scope}.${name}`, { dtype: type.dtype, shape });
  }
  const columns = rest.reduce<number>((product, dim) => product * Number(dim), 1);
  const table = b.weight(`table${columns}`, { dtype: "bf16", shape: [tableRows, columns] });
  const flat = one(at, "embedding", [b.input("ids"), table]);
  const row = rows === "T" ? flat : one(at, "lastRow", [flat]);
  const own = one(at, "pointwise", [row], { expr: exprToJson(parseExpr("a0")), out: type.dtype });
  return one(at, "reshape", [own], { shape: type.shape });
}

/** Inputs that are streamed or looked up. */
function isWeight(kind: string, attrs: Attrs, index: number): boolean {
  if (kind === "embedding") return index === 1;
  return kind === "linear" && index >= 1 && index <= Number(attrs["groups"]);
}

/** One program of all the instances side by side; it chooses its tokens from the last `sample`. */
export function programOfCases(cases: readonly (readonly [kind: string, own: Case])[]): Program {
  const maxTokens = Math.max(...cases.map(([, own]) => own.maxTokens));
  const limits = { maxTokens, maxContext: 64 };
  const b = createBuilder({ name: "cases", limits, table: semanticsTable });
  cases.forEach(([kind, { attrs, inputs, kv }], i) => {
    const at = { b, scope: `case${i}` };
    const states = kv === null ? [] : [b.state(`${at.scope}.kv`, kv)];
    const values = inputs.map((type, input) =>
      valueOf(at, type, isWeight(kind, attrs, input), `${kind}${input}`));
    const [result] = b.op({ kind, inputs: values, attrs, states, scope: at.scope });
    b.output(at.scope, result!);
  });
  if (cases.every(([kind]) => kind !== "sample")) {
    const at = { b, scope: "choice" };
    const logits = valueOf(at, { dtype: "f32", shape: [1, 8] }, false, "logits");
    b.output("token", one(at, "sample", [logits]));
  }
  return b.build();
}

/** The source of a program on a few SMs, no pass run: every op has its own body. */
export function sourceOf(program: Program, target = "sm_90a"): string {
  const machine = virtual(3, { sharedBytes: findTarget(target).sharedBytes });
  return emit(plan(program, scheduleTable, machine), scheduleTable, bodyTable, { target }).source;
}
