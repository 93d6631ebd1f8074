/** @file Reads the text form of Programs; see `printProgram`. Pure. */
import { parseExpr } from "./expr-text.ts";
import { exprToJson } from "./expr.ts";
import { deepFreeze } from "./renumber.ts";
import { scan } from "./scanner.ts";
import type { Scanner, Token } from "./scanner.ts";
import { dtypeBytes } from "./types.ts";
import type {
  CallSite, Dim, DType, Json, Op, Program, Slice, State, StepInput, TensorType, Value, ValueId,
  ValueOrigin, Weight, WeightPart,
} from "./types.ts";

interface Draft {
  readonly values: Value[];
  readonly names: Map<string, ValueId>;
  readonly weights: Weight[];
  readonly states: State[];
  /** Ids are known once everything is read: ops may not come in order in a broken program. */
  readonly ops: ((resolve: (token: Token) => ValueId) => Op)[];
  readonly outputs: { readonly name: string; readonly value: Token }[];
}

/**
 * The Program that text says. It may still break the verifier's rules. Throws `ParseError` with
 * line, column and what was expected.
 */
export function parseProgram(text: string): Program {
  const s = scan(text);
  const draft: Draft = {
    values: [], names: new Map(), weights: [], states: [], ops: [], outputs: [],
  };
  s.expect("program");
  const name = s.expectKind("string", "the program's name in quotes").text;
  s.expect("(");
  const maxTokens = parseLimit(s, "tokens");
  s.expect(",");
  const maxContext = parseLimit(s, "context");
  s.expect(")");
  while (s.peek.kind !== "end") parseStatement(s, draft);
  const resolve = (token: Token): ValueId =>
    draft.names.get(token.text) ?? s.fail("a value that some line declares", token);
  const values = draft.values.toSorted((a, b) => a.id - b.id);
  const gap = values.find((value, index) => value.id !== index);
  if (gap) s.fail(`ids from 0 to ${values.length - 1}, each once; %${gap.name} is ${gap.id}`);
  const byValue = (a: { value: ValueId }, b: { value: ValueId }): number => a.value - b.value;
  return deepFreeze<Program>({
    name,
    limits: { maxTokens, maxContext },
    values,
    weights: draft.weights.toSorted(byValue),
    states: draft.states.toSorted(byValue),
    ops: draft.ops.map((op) => op(resolve)),
    outputs: Object.fromEntries(draft.outputs.map((o) => [o.name, resolve(o.value)])),
  });
}

function parseLimit(s: Scanner, word: string): number {
  s.expect(word);
  s.expect("<=");
  return parseNumber(s);
}

function parseNumber(s: Scanner): number {
  const sign = s.take("-") ? -1 : 1;
  return sign * Number(s.expectKind("number", "a number").text);
}

function parseStatement(s: Scanner, draft: Draft): void {
  if (s.peek.kind === "value" || s.at("=")) return parseOp(s, draft);
  const rules: { readonly [word: string]: (s: Scanner, draft: Draft) => void } = {
    input: parseInput,
    weight: parseWeight,
    state: parseState,
    output: parseOutput,
  };
  const { kind, text } = s.peek;
  const rule = kind === "word" && Object.hasOwn(rules, text) ? rules[text] : undefined;
  if (!rule) return s.fail("input, weight, state, output or a value such as %x");
  s.next();
  rule(s, draft);
}

type Declaration = Omit<Value, "origin">;

/** `%name #id: type`. */
function parseDeclaration(s: Scanner, draft: Draft): Declaration {
  const token = s.expectKind("value", "a value such as %x");
  const id = s.peek.kind === "id" ? Number(s.next().text) : draft.values.length;
  s.expect(":");
  const type = parseType(s);
  if (draft.names.has(token.text)) s.fail("a name that is not taken", token);
  draft.names.set(token.text, id);
  return { id, name: token.text, type };
}

function declare(draft: Draft, declaration: Declaration, origin: ValueOrigin): ValueId {
  draft.values.push({ ...declaration, origin });
  return declaration.id;
}

function parseType(s: Scanner): TensorType {
  const token = s.expectKind("word", "a number format");
  if (!isDType(token.text)) s.fail(`one of ${Object.keys(dtypeBytes).join(", ")}`, token);
  s.expect("[");
  return { dtype: token.text, shape: parseList(s, "]", (): Dim => (s.take("T") ? "T" : parseNumber(s))) };
}

const isDType = (text: string): text is DType => Object.hasOwn(dtypeBytes, text);

/** Items with commas between them, up to and with `close`. */
function parseList<E>(s: Scanner, close: string, item: () => E): E[] {
  const items: E[] = [];
  if (s.take(close)) return items;
  for (;;) {
    items.push(item());
    if (s.take(close)) return items;
    if (!s.take(",")) s.fail(`"," or "${close}"`);
  }
}

function parseInput(s: Scanner, draft: Draft): void {
  const declaration = parseDeclaration(s, draft);
  s.expect("=");
  const token = s.expectKind("word", "ids or positions");
  const input: StepInput | null =
    token.text === "ids" || token.text === "positions" ? token.text : null;
  if (!input) return s.fail("ids or positions", token);
  declare(draft, declaration, { kind: "input", input });
}

function parseWeight(s: Scanner, draft: Draft): void {
  const value = declare(draft, parseDeclaration(s, draft), { kind: "weight" });
  const parts: WeightPart[] = [];
  s.expect("=");
  do {
    const tensor = s.expectKind("string", "a checkpoint tensor's name in quotes").text;
    s.expect("[");
    const rows = parseNumber(s);
    s.expect("]");
    const axis = s.take("rows") ? 0 : s.take("columns") ? 1 : null;
    parts.push(axis === null ? { tensor, rows } : { tensor, rows, slice: parseSlice(s, axis) });
  } while (s.take("+"));
  draft.weights.push({ value, parts });
}

function parseSlice(s: Scanner, axis: 0 | 1): Slice {
  const index = parseNumber(s);
  s.expect("of");
  return { axis, index, of: parseNumber(s) };
}

function parseState(s: Scanner, draft: Draft): void {
  const value = declare(draft, parseDeclaration(s, draft), { kind: "state" });
  for (const text of ["=", "kv", "(", "kvHeads"]) s.expect(text);
  const kvHeads = parseNumber(s);
  for (const text of [",", "headDim"]) s.expect(text);
  const headDim = parseNumber(s);
  s.expect(")");
  draft.states.push({ value, kind: "kv", kvHeads, headDim });
}

function parseOutput(s: Scanner, draft: Draft): void {
  const name = parseName(s, "the output's name");
  s.expect("=");
  draft.outputs.push({ name, value: s.expectKind("value", "a value such as %x") });
}

/** A word, or anything in quotes. */
function parseName(s: Scanner, what: string): string {
  return s.peek.kind === "string" ? s.next().text : s.expectKind("word", what).text;
}

function parseOp(s: Scanner, draft: Draft): void {
  const outputs: ValueId[] = [];
  if (!s.take("=")) {
    do outputs.push(declare(draft, parseDeclaration(s, draft), { kind: "op" }));
    while (s.take(","));
    s.expect("=");
  }
  const kind = parseName(s, "an op's name");
  s.expect("(");
  const operand = (): Token => s.expectKind("value", "a value such as %x");
  const inputs: Token[] = [];
  while (!s.at(")") && !s.at(";")) {
    if (inputs.length > 0) s.expect(",");
    inputs.push(operand());
  }
  const states = s.take(";") ? parseList(s, ")", operand) : [];
  if (states.length === 0) s.expect(")");
  const attrs = s.take("{") ? parseObject(s) : {};
  const scope = s.take("in") ? parseName(s, "a scope such as layers.3") : "";
  const site = s.take("at") ? parseSite(s) : null;
  draft.ops.push((resolve) => ({
    kind,
    inputs: inputs.map(resolve),
    outputs,
    states: states.map(resolve),
    attrs,
    scope,
    site,
  }));
}

function parseSite(s: Scanner): CallSite {
  const file = s.expectKind("string", "a file name in quotes").text;
  s.expect(":");
  const line = parseNumber(s);
  s.expect(":");
  return { file, line, column: parseNumber(s) };
}

function parseObject(s: Scanner, depth = 0): { readonly [key: string]: Json } {
  const entries = parseList(s, "}", (): [string, Json] => {
    const key = parseName(s, "an attribute's name");
    s.expect(":");
    return [key, parseJson(s, depth)];
  });
  return Object.fromEntries(entries);
}

/** Brackets of attributes inside one another. */
const mostNested = 64;

function parseJson(s: Scanner, depth = 0): Json {
  if (depth > mostNested) s.fail(`at most ${mostNested} brackets inside one another`);
  const { kind, text, line, column } = s.peek;
  if (kind === "number" || s.at("-")) return parseNumber(s);
  if (s.take("[")) return parseList(s, "]", () => parseJson(s, depth + 1));
  if (s.take("{")) return parseObject(s, depth + 1);
  const words = new Map<string, Json>([["null", null], ["true", true], ["false", false]]);
  const word = kind === "word" ? words.get(text) : undefined;
  if (word === undefined && kind !== "string" && kind !== "expression") {
    return s.fail("a JSON value or an expression in backquotes");
  }
  s.next();
  if (kind === "expression") return exprToJson(parseExpr(text, line, column + 1));
  return kind === "string" ? text : word ?? null;
}
