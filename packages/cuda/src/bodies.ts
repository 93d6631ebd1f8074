/** @file Renders each op's body and numbers the distinct ones. */
import { fewTokens } from "@mpk/ir";
import { type OpInstance, type Plan, type ScheduleTable, choicesOf } from "@mpk/schedule";
import type { BodyEnv, BodyTable, OpBody } from "./body.ts";
import { floatLiteral, printExpression } from "./expression.ts";
import {
  bodyOperand, flagOffset, locate, operandElement, operandElementOfOne, operandType,
} from "./operands.ts";
import { render } from "./templates.ts";

export interface RenderedBody {
  readonly name: string;
  readonly run: string;
  readonly comment: string;
  readonly text: string;
  readonly tileChunks: number;
  readonly chunkBytes: number;
}

export interface Bodies {
  readonly bodies: readonly RenderedBody[];
  /** Body number by op index; -1 for views. */
  readonly bodyOf: Int32Array;
}

function instanceOf(plan: Plan, opIndex: number, table: ScheduleTable): OpInstance<never> {
  const op = plan.program.ops[opIndex];
  const schedule = op && table.get(op.kind);
  if (!op || !schedule) {
    throw new RangeError(`op ${opIndex} (${op?.kind ?? "missing"}) is not in the op table`);
  }
  const type = (id: number) => {
    const value = plan.program.values[id];
    if (value === undefined) throw new RangeError(`${op.kind} at ${op.scope}: no value ${id}`);
    return value.type;
  };
  return {
    kind: op.kind,
    attrs: schedule.semantics.parseAttrs(op.attrs),
    inputs: op.inputs.map(type),
    outputs: op.outputs.map(type),
    maxTokens: plan.program.limits.maxTokens,
    ...choicesOf(plan.layouts[opIndex] ?? null),
  };
}

type Handed = ReadonlyMap<number, "bf16" | "terms">;

/**
 * What steps of several tokens hand over as bf16, in plans for a few: each SM reads all that its linears
 * multiply by. Results of attention that all readers round are rounded. What is added up as well, such as a
 * residual stream, is in two terms, and linears multiply by the first. Steps of one token have words of their
 * own for both, or few bytes.
 */
function handedOver({ program, flags }: Plan): Handed {
  const { maxTokens } = program.limits;
  if (maxTokens === 1 || maxTokens > fewTokens) return new Map();
  const outputs = new Set(Object.values(program.outputs));
  const bf16 = (id: number): boolean =>
    program.ops.every(({ kind, inputs, attrs }) => {
      const at = inputs.indexOf(id);
      if (at < 0) return true;
      if (kind !== "linear" || at > 0 || inputs.includes(id, 1)) return false;
      return attrs["norm"] === null && attrs["round"] === "bf16" && attrs["lastRow"] !== true;
    });
  const terms = (id: number): boolean => {
    const type = program.values[id]?.type;
    return type?.dtype === "f32" && type.shape[0] === "T" && flags.value.includes(id) &&
      program.ops.every(({ kind, inputs }) => kind === "linear" || !inputs.includes(id)) &&
      program.ops.some(({ inputs }) => inputs[0] === id);
  };
  const made = program.ops.flatMap(({ kind, outputs: [id = -1], attrs }): [number, "bf16" | "terms"][] => {
    if (outputs.has(id)) return [];
    if (kind === "attention") return attrs["out"] !== "bf16" && bf16(id) ? [[id, "bf16"]] : [];
    return (kind === "linear" || kind === "embedding") && terms(id) ? [[id, "terms"]] : [];
  });
  return new Map(made);
}

function environment(plan: Plan, opIndex: number, vocab: number, handed: Handed): BodyEnv {
  const op = plan.program.ops[opIndex];
  if (op === undefined) throw new RangeError(`no op ${opIndex}`);
  const layout = plan.layouts[opIndex] ?? null;
  const inputs = op.inputs.length;
  let flagWord = inputs + op.outputs.length + op.states.length;
  const few = (id: number) => {
    const how = handed.get(id);
    return how === undefined ? {} : { few: how };
  };
  const flagOf = (id: number): number | null =>
    flagOffset(plan, locate(plan, id)) === null ? null : flagWord++;
  return {
    inputs: op.inputs.map((id, i) => ({
      ...bodyOperand(plan, id, i, layout?.weights.includes(i) ?? false, flagOf(id)), ...few(id),
    })),
    outputs: op.outputs.map((id, i) => ({
      ...bodyOperand(plan, id, inputs + i, false, flagOf(id)), ...few(id),
    })),
    states: op.states.map((id, i) => ({
      word: inputs + op.outputs.length + i,
      kvHeads: plan.program.states.find((state) => state.value === id)?.kvHeads ?? 0,
    })),
    layout,
    ring: plan.ring,
    maxTokens: plan.program.limits.maxTokens,
    workBytes: plan.ring.activationBytes + 2 * plan.ring.partialBytes,
    pageTokens: plan.pageTokens,
    vocab,
    element: operandElement,
    elementOfOne: operandElementOfOne,
    flags: plan.flags.value.length > 0,
    type: operandType,
    expression: printExpression,
    float: floatLiteral,
  };
}

function renderOne(body: OpBody<never>, op: OpInstance<never>, env: BodyEnv) {
  const view = { ...body.view(op, env), name: "BodyName" };
  const run = typeof body.run === "string" ? body.run : body.run(op);
  return { run, text: render(body.template(), view).trim() };
}

/** The body of every op that has tasks; ops that render alike share one. */
export function renderBodies(
  plan: Plan,
  table: ScheduleTable,
  bodies: BodyTable,
  vocab: number,
): Bodies {
  const used = new Set(plan.tasks.op);
  const handed = handedOver(plan);
  const bodyOf = new Int32Array(plan.program.ops.length).fill(-1);
  const numbers = new Map<string, number>();
  const rendered: RenderedBody[] = [];
  const views = new Map<string, { readonly run: string; readonly text: string }>();
  plan.program.ops.forEach((op, index) => {
    if (!used.has(index)) return;
    const body: OpBody<never> | undefined = bodies.get(op.kind);
    if (body === undefined) {
      throw new RangeError(`op '${op.kind}' at ${op.scope} has no CUDA body; add one to the table`);
    }
    const env = environment(plan, index, vocab, handed);
    const key = JSON.stringify([op.kind, op.attrs, env]);
    const { run, text } = views.get(key) ?? renderOne(body, instanceOf(plan, index, table), env);
    views.set(key, { run, text });
    const layout = env.layout;
    const tileChunks = layout?.chunksPerTile ?? 0;
    const chunkBytes = (layout?.blocksPerChunk ?? 0) * 1024;
    // The producer copies by these two, whatever the text says.
    const all = [run, tileChunks, chunkBytes, text].join("\n");
    let number = numbers.get(all);
    if (number === undefined) {
      number = rendered.length;
      numbers.set(all, number);
      const name = `Body${number}`;
      rendered.push({
        name,
        run,
        comment: `${op.kind}, first at ${op.scope === "" ? "the top" : op.scope.replace(/[^\w.-]/g, "_")}`,
        text: text.replaceAll("BodyName", name),
        tileChunks,
        chunkBytes,
      });
    }
    bodyOf[index] = number;
  });
  return { bodies: rendered, bodyOf };
}
