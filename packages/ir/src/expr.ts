/** @file Scalar expressions: their meaning in float32, and functions over their trees. Pure. */
import { roundTo } from "./numerics.ts";
import { ShapeError } from "./semantics.ts";
import type { Precision } from "./semantics.ts";
import { dtypeBytes } from "./types.ts";
import type { BinaryOp, CompareOp, DType, Expr, Json, UnaryOp } from "./types.ts";

/**
 * Error function, to float32 accuracy: erf(x) = 2/sqrt(pi) exp(-x²) sum 2^n x^(2n+1) / (2n+1)!!
 * (Abramowitz & Stegun 7.1.6; all terms have one sign). Beyond 4 float32 cannot tell it from 1.
 */
function erf(x: number): number {
  if (Number.isNaN(x)) return x;
  if (Math.abs(x) >= 4) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

// The inner function of each rule may work in float64: one rounding to float32 follows.
const unaryRules = {
  neg: (x) => -x,
  abs: Math.abs,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  rsqrt: (x) => 1 / Math.sqrt(x),
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  erf,
  sin: Math.sin,
  cos: Math.cos,
  floor: Math.floor,
  ceil: Math.ceil,
} as const satisfies Record<UnaryOp, (x: number) => number>;

const binaryRules = {
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  mul: (x, y) => x * y,
  div: (x, y) => x / y,
  // As fminf and fmaxf: a NaN loses against a number.
  min: (x, y) => (Number.isNaN(x) ? y : Number.isNaN(y) ? x : Math.min(x, y)),
  max: (x, y) => (Number.isNaN(x) ? y : Number.isNaN(y) ? x : Math.max(x, y)),
  // As powf, which gives 1 where ECMAScript gives NaN.
  pow: (x, y) => (x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y),
} as const satisfies Record<BinaryOp, (x: number, y: number) => number>;

const compareRules = {
  lt: (x, y) => x < y,
  le: (x, y) => x <= y,
  gt: (x, y) => x > y,
  ge: (x, y) => x >= y,
  eq: (x, y) => x === y,
  ne: (x, y) => x !== y,
} as const satisfies Record<CompareOp, (x: number, y: number) => boolean>;

const has = <T extends object>(table: T, key: PropertyKey): key is keyof T =>
  Object.hasOwn(table, key);

/** Whether `op` names a unary operation. */
export const isUnaryOp = (op: string): op is UnaryOp => has(unaryRules, op);
/** Whether `op` names a binary operation. */
export const isBinaryOp = (op: string): op is BinaryOp => has(binaryRules, op);
/** Whether `op` names a comparison. */
export const isCompareOp = (op: string): op is CompareOp => has(compareRules, op);

type UnaryExpr = Extract<Expr, { op: UnaryOp }>;
type BinaryExpr = Extract<Expr, { op: BinaryOp }>;
type CompareExpr = Extract<Expr, { op: CompareOp }>;

const isUnary = (e: Expr): e is UnaryExpr => isUnaryOp(e.op);
const isBinary = (e: Expr): e is BinaryExpr => isBinaryOp(e.op);
const isCompare = (e: Expr): e is CompareExpr => isCompareOp(e.op);

/** A compiled expression: its value for the arguments given. */
export type ExprFunction = (args: ArrayLike<number>) => number;

/**
 * An expression as a function, for use on many elements. Every operation's result is rounded to
 * float32; `round` to bf16 rounds only at precision "bf16". An argument that is missing is NaN.
 */
export function compileExpr(expr: Expr, precision: Precision): ExprFunction {
  const sub = (e: Expr): ExprFunction => compileExpr(e, precision);
  if (isUnary(expr)) {
    const rule = unaryRules[expr.op];
    const x = sub(expr.x);
    return (args) => Math.fround(rule(x(args)));
  }
  if (isBinary(expr)) {
    const rule = binaryRules[expr.op];
    const [x, y] = [sub(expr.x), sub(expr.y)];
    return (args) => Math.fround(rule(x(args), y(args)));
  }
  if (isCompare(expr)) {
    const rule = compareRules[expr.op];
    const [x, y] = [sub(expr.x), sub(expr.y)];
    return (args) => (rule(x(args), y(args)) ? 1 : 0);
  }
  return compileOther(expr, precision);
}

function compileOther(
  expr: Exclude<Expr, UnaryExpr | BinaryExpr | CompareExpr>,
  precision: Precision,
): ExprFunction {
  switch (expr.op) {
    case "arg": {
      const { index } = expr;
      return (args) => Math.fround(args[index] ?? Number.NaN);
    }
    case "const": {
      const value = Math.fround(expr.value);
      return () => value;
    }
    case "select": {
      const [cond, x, y] = [expr.cond, expr.x, expr.y].map((e) => compileExpr(e, precision));
      if (!cond || !x || !y) throw new TypeError("select has three operands");
      return (args) => (cond(args) !== 0 ? x(args) : y(args));
    }
    case "round": {
      const x = compileExpr(expr.x, precision);
      const { to } = expr;
      return (args) => roundTo(to, x(args), precision);
    }
  }
}

/** The value of an expression for one set of arguments; see `compileExpr`. */
export function evaluateExpr(
  expr: Expr,
  args: ArrayLike<number>,
  precision: Precision,
): number {
  return compileExpr(expr, precision)(args);
}

/** Direct subexpressions, in order. */
export function exprChildren(expr: Expr): readonly Expr[] {
  if (expr.op === "arg" || expr.op === "const") return [];
  if (expr.op === "select") return [expr.cond, expr.x, expr.y];
  return "y" in expr ? [expr.x, expr.y] : [expr.x];
}

/** Calls `visit` on each node, parents first. */
export function walkExpr(expr: Expr, visit: (node: Expr) => void): void {
  visit(expr);
  for (const child of exprChildren(expr)) walkExpr(child, visit);
}

/** Number of nodes. */
export function exprSize(expr: Expr): number {
  let size = 0;
  walkExpr(expr, () => size++);
  return size;
}

/** The largest argument index used, or -1 where none is. */
export function maxArgIndex(expr: Expr): number {
  let max = -1;
  walkExpr(expr, (node) => {
    if (node.op === "arg") max = Math.max(max, node.index);
  });
  return max;
}

/** How often each argument is used; the length is `maxArgIndex(expr) + 1`. */
export function argUses(expr: Expr): readonly number[] {
  const uses = new Array<number>(maxArgIndex(expr) + 1).fill(0);
  walkExpr(expr, (node) => {
    if (node.op === "arg") uses[node.index] = (uses[node.index] ?? 0) + 1;
  });
  return uses;
}

/** Rebuilds an expression with each argument replaced by `replace(index)`. */
export function replaceArgs(expr: Expr, replace: (index: number) => Expr): Expr {
  if (expr.op === "arg") return replace(expr.index);
  if (expr.op === "const") return expr;
  const x = replaceArgs(expr.x, replace);
  if (expr.op === "select") {
    const cond = replaceArgs(expr.cond, replace);
    return { op: "select", cond, x, y: replaceArgs(expr.y, replace) };
  }
  if ("y" in expr) return { op: expr.op, x, y: replaceArgs(expr.y, replace) };
  return expr.op === "round" ? { op: "round", to: expr.to, x } : { op: expr.op, x };
}

/**
 * Rebuilds an expression with argument i replaced by `args[i]`. Throws `ShapeError` where an
 * argument has no replacement.
 */
export function substituteExpr(expr: Expr, args: readonly Expr[]): Expr {
  return replaceArgs(expr, (index) => {
    const arg = args[index];
    if (!arg) throw new ShapeError(`argument ${index} is used, but only ${args.length} are given`);
    return arg;
  });
}

/** An expression as plain JSON, to be an op's attribute. Shares the tree: both are frozen data. */
export function exprToJson(expr: Expr): Json {
  return expr;
}

/**
 * Checks that JSON is an expression and that it uses at most `argCount` arguments. Throws
 * `ShapeError` with the path of the offending node.
 */
export function exprFromJson(json: Json | undefined, argCount = Infinity): Expr {
  const expr = readNode(json, "expr");
  const max = maxArgIndex(expr);
  if (max >= argCount) {
    throw new ShapeError(`expr uses argument ${max}, but there are only ${argCount} operands`);
  }
  return expr;
}

function readNode(json: Json | undefined, path: string): Expr {
  const node = objectAt(json, path);
  const { op } = node;
  const child = (key: string): Expr => readNode(node[key], `${path}.${key}`);
  if (typeof op !== "string") throw new ShapeError(`${path}.op: expected a name, got ${show(op)}`);
  if (isUnaryOp(op)) return { op, x: child("x") };
  if (isBinaryOp(op)) return { op, x: child("x"), y: child("y") };
  if (isCompareOp(op)) return { op, x: child("x"), y: child("y") };
  switch (op) {
    case "arg":
      return { op, index: readIndex(node["index"], path) };
    case "const":
      return { op, value: readFinite(node["value"], path) };
    case "select":
      return { op, cond: child("cond"), x: child("x"), y: child("y") };
    case "round":
      return { op, to: readDType(node["to"], path), x: child("x") };
    default:
      throw new ShapeError(`${path}.op: no expression is called ${show(op)}`);
  }
}

function objectAt(json: Json | undefined, path: string): { readonly [key: string]: Json } {
  if (typeof json === "object" && json !== null && !Array.isArray(json)) {
    return json as { readonly [key: string]: Json };
  }
  throw new ShapeError(`${path}: expected an expression object, got ${show(json)}`);
}

function readIndex(json: Json | undefined, path: string): number {
  if (typeof json === "number" && Number.isInteger(json) && json >= 0) return json;
  throw new ShapeError(`${path}.index: expected an integer of 0 or more, got ${show(json)}`);
}

function readFinite(json: Json | undefined, path: string): number {
  if (typeof json === "number" && Number.isFinite(json)) return json;
  throw new ShapeError(`${path}.value: expected a finite number, got ${show(json)}`);
}

function readDType(json: Json | undefined, path: string): DType {
  if (typeof json === "string" && has(dtypeBytes, json)) return json;
  const names = Object.keys(dtypeBytes).join(", ");
  throw new ShapeError(`${path}.to: expected one of ${names}, got ${show(json)}`);
}

function show(json: Json | undefined): string {
  return json === undefined ? "nothing" : JSON.stringify(json);
}
