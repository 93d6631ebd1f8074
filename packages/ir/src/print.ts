/** @file Programs as text, one op a line; `parseProgram` reads it back. Pure. */
import { sameJson, typeText } from "./describe.ts";
import { exprFromJson } from "./expr.ts";
import { printExpr } from "./expr-text.ts";
import { numberText } from "./scanner.ts";
import { ShapeError } from "./semantics.ts";
import type { CallSite, Expr, Json, Op, Program, Value, ValueId } from "./types.ts";

/**
 * A valid Program as text:
 *
 *     program "tiny" (tokens <= 8, context <= 64)
 *     input %ids: i32 [T] = ids
 *     weight %table: bf16 [512, 64] = "embed.weight"[512]
 *     %x: f32 [T, 64] = embedding(%ids, %table) in embed at "tiny.ts":12:5
 *     output logits = %x
 *
 * Values are numbered in the order of the lines; `#id` after a name says otherwise.
 */
export function printProgram(program: Program): string {
  const { limits, values } = program;
  let count = 0;
  const declare = (value: Value): string => {
    const id = value.id === count ? "" : ` #${value.id}`;
    count++;
    return `${valueText(value.name)}${id}: ${typeText(value.type)}`;
  };
  const name = (id: ValueId): string => valueText(values[id]?.name ?? `missing ${id}`);
  const given = values.filter((value) => value.origin.kind !== "op");
  const tokens = `tokens <= ${numberText(limits.maxTokens)}`;
  return [
    `program ${quote(program.name)} (${tokens}, context <= ${numberText(limits.maxContext)})`,
    ...given.map((value) => givenText(program, value, declare(value))),
    ...program.ops.map((op) => {
      const results = op.outputs.map((id) => values[id]).filter((value) => value !== undefined);
      return opLine(op, results.map(declare).join(", "), name);
    }),
    ...Object.entries(program.outputs).map(([key, id]) => `output ${bare(key)} = ${name(id)}`),
    "",
  ].join("\n");
}

function givenText(program: Program, value: Value, declaration: string): string {
  const { origin, id } = value;
  if (origin.kind === "input") return `input ${declaration} = ${origin.input}`;
  if (origin.kind === "state") {
    const state = program.states.find((other) => other.value === id);
    const size = state ? `kvHeads ${state.kvHeads}, headDim ${state.headDim}` : "";
    return `state ${declaration} = ${state?.kind ?? "kv"}(${size})`;
  }
  const parts = program.weights.find((weight) => weight.value === id)?.parts ?? [];
  const texts = parts.map(({ tensor, rows, slice }) => {
    const axis = slice?.axis === 0 ? "rows" : "columns";
    const of = slice === undefined ? "" : ` ${axis} ${slice.index} of ${slice.of}`;
    return `${quote(tensor)}[${rows}]${of}`;
  });
  return `weight ${declaration} = ${texts.join(" + ")}`;
}

function opLine(op: Op, results: string, name: (id: ValueId) => string): string {
  const states = op.states.length > 0 ? `; ${op.states.map(name).join(", ")}` : "";
  const call = `${bare(op.kind)}(${op.inputs.map(name).join(", ")}${states})`;
  const attrs = Object.keys(op.attrs).length > 0 ? ` ${jsonText(op.attrs)}` : "";
  const scope = op.scope === "" ? "" : ` in ${bare(op.scope)}`;
  const site = op.site ? ` at ${siteSource(op.site)}` : "";
  return `${results === "" ? "" : `${results} `}= ${call}${attrs}${scope}${site}`;
}

const siteSource = ({ file, line, column }: CallSite): string => `${quote(file)}:${line}:${column}`;

function valueText(name: string): string {
  return /^[\w.+-]+$/.test(name) ? `%${name}` : `%${quote(name)}`;
}

/** A name as a word where it is one, else quoted. */
function bare(name: string): string {
  return /^[A-Za-z_][\w.]*$/.test(name) ? name : quote(name);
}

const quote = (text: string): string => JSON.stringify(text);

/** JSON with bare keys; a tree that is an expression reads as one, in backquotes. */
export function jsonText(json: Json): string {
  if (typeof json === "number") return numberText(json);
  if (typeof json !== "object" || json === null) return JSON.stringify(json);
  if (Array.isArray(json)) return `[${json.map(jsonText).join(", ")}]`;
  const expr = exactExpr(json);
  if (expr) return `\`${printExpr(expr)}\``;
  const entries = Object.entries(json).map(([key, inner]) => `${bare(key)}: ${jsonText(inner)}`);
  return `{${entries.join(", ")}}`;
}

/** The expression that JSON is, or null where it is none or says more than one. */
function exactExpr(json: Json): Expr | null {
  if (typeof json !== "object" || json === null || !("op" in json)) return null;
  try {
    const expr = exprFromJson(json);
    return sameJson(json, expr) ? expr : null;
  } catch (error) {
    if (error instanceof ShapeError) return null;
    throw error;
  }
}
