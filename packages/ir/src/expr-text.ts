/** @file Expressions as text, such as `a0 * sigmoid(a0)`, and back. Pure. */
import { isBinaryOp, isUnaryOp } from "./expr.ts";
import { numberText, scan } from "./scanner.ts";
import type { Scanner } from "./scanner.ts";
import { dtypeBytes } from "./types.ts";
import type { BinaryOp, CompareOp, DType, Expr } from "./types.ts";

/** Operators by how tightly they bind, loosest first; all group to the left. */
const levels: readonly { readonly [symbol: string]: BinaryOp | CompareOp }[] = [
  { "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne" },
  { "+": "add", "-": "sub" },
  { "*": "mul", "/": "div" },
];

const symbols = new Map(levels.flatMap((level, tightness) =>
  Object.entries(level).map(([symbol, op]) => [op as string, { symbol, tightness }] as const)));

/** An expression as text. `parseExpr` gives the same tree. Argument i reads `ai`. */
export function printExpr(expr: Expr): string {
  return printAt(expr, 0);
}

function printAt(expr: Expr, tightness: number): string {
  const call = (name: string, ...args: readonly Expr[]): string =>
    `${name}(${args.map(printExpr).join(", ")})`;
  switch (expr.op) {
    case "arg":
      return `a${expr.index}`;
    case "const":
      return numberText(expr.value);
    case "select":
      return call("select", expr.cond, expr.x, expr.y);
    case "round":
      return call(expr.to, expr.x);
    default: {
      if (!("y" in expr)) return call(expr.op, expr.x);
      const symbol = symbols.get(expr.op);
      if (!symbol) return call(expr.op, expr.x, expr.y);
      const own = symbol.tightness;
      const text = `${printAt(expr.x, own)} ${symbol.symbol} ${printAt(expr.y, own + 1)}`;
      return own < tightness ? `(${text})` : text;
    }
  }
}

/**
 * The expression that text says. Functions: every unary operation by its name, min, max, pow,
 * select(condition, then, else), and a number format for rounding, such as `bf16(a0)`. Throws
 * `ParseError`.
 */
export function parseExpr(text: string, line = 1, column = 1): Expr {
  const scanner = scan(text, line, column);
  const expr = parseLevel(scanner, 0);
  if (scanner.peek.kind !== "end") scanner.fail("an operator or the end of the expression");
  return expr;
}

/** Far beyond what anyone writes, and within the stack of everything that walks an expression. */
const mostNested = 200;
const mostChained = 1000;

/** `depth`: brackets and signs around it. */
function parseLevel(scanner: Scanner, tightness: number, depth = 0): Expr {
  const level = levels[tightness];
  if (!level) return parsePrimary(scanner, depth);
  let left = parseLevel(scanner, tightness + 1, depth);
  for (let count = 0; ; count++) {
    const { kind, text } = scanner.peek;
    const op = kind === "mark" && Object.hasOwn(level, text) ? level[text] : undefined;
    if (!op) return left;
    if (count === mostChained) scanner.fail(`at most ${mostChained} operators in a row`);
    scanner.next();
    left = { op, x: left, y: parseLevel(scanner, tightness + 1, depth) };
  }
}

function parsePrimary(scanner: Scanner, depth: number): Expr {
  if (depth > mostNested) scanner.fail(`at most ${mostNested} brackets and signs inside one another`);
  if (scanner.take("(")) {
    const inner = parseLevel(scanner, 0, depth + 1);
    scanner.expect(")");
    return inner;
  }
  if (scanner.take("-")) {
    if (scanner.peek.kind === "number") return parseNumber(scanner, -1);
    return { op: "neg", x: parsePrimary(scanner, depth + 1) };
  }
  if (scanner.peek.kind === "number") return parseNumber(scanner, 1);
  const token = scanner.expectKind("word", "an expression");
  const arg = /^a(\d+)$/.exec(token.text);
  if (arg) return { op: "arg", index: Number(arg[1]) };
  return parseCall(scanner, token.text, depth + 1);
}

function parseNumber(scanner: Scanner, sign: number): Expr {
  return { op: "const", value: sign * Number(scanner.next().text) };
}

function parseCall(scanner: Scanner, name: string, depth: number): Expr {
  const start = scanner.peek;
  if (!scanner.take("(")) scanner.fail(`"(" after ${name}, or an argument such as a0`);
  const args = [parseLevel(scanner, 0, depth)];
  while (scanner.take(",")) args.push(parseLevel(scanner, 0, depth));
  scanner.expect(")");
  const [x, y, z] = args;
  if (x && !y) {
    if (isUnaryOp(name)) return { op: name, x };
    if (isDType(name)) return { op: "round", to: name, x };
  }
  if (x && y && !z && isBinaryOp(name)) return { op: name, x, y };
  if (x && y && z && args.length === 3 && name === "select") {
    return { op: name, cond: x, x: y, y: z };
  }
  return scanner.fail(`a function of ${args.length} arguments, none is called ${name}`, start);
}

const isDType = (name: string): name is DType => Object.hasOwn(dtypeBytes, name);
