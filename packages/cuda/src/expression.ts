/** @file Prints expressions as C++ over the wrappers of machine.cuh. */
import type { BinaryOp, CompareOp, DType, Expr, UnaryOp } from "@mpk/ir";

const unary = {
  // A space: two signs in a row would be a decrement.
  neg: (x) => (x.startsWith("-") ? `(- ${x})` : `(-${x})`),
  abs: (x) => `m_abs(${x})`,
  exp: (x) => `m_exp(${x})`,
  log: (x) => `m_log(${x})`,
  sqrt: (x) => `m_sqrt(${x})`,
  rsqrt: (x) => `m_rsqrt(${x})`,
  tanh: (x) => `m_tanh(${x})`,
  sigmoid: (x) => `m_sigmoid(${x})`,
  erf: (x) => `m_erf(${x})`,
  sin: (x) => `m_sin(${x})`,
  cos: (x) => `m_cos(${x})`,
  floor: (x) => `m_floor(${x})`,
  ceil: (x) => `m_ceil(${x})`,
} as const satisfies Record<UnaryOp, (x: string) => string>;

const binary = {
  add: (x, y) => `(${x} + ${y})`,
  sub: (x, y) => `(${x} - ${y})`,
  mul: (x, y) => `(${x} * ${y})`,
  div: (x, y) => `(${x} / ${y})`,
  min: (x, y) => `m_min(${x}, ${y})`,
  max: (x, y) => `m_max(${x}, ${y})`,
  pow: (x, y) => `m_pow(${x}, ${y})`,
} as const satisfies Record<BinaryOp, (x: string, y: string) => string>;

const compare = {
  lt: "<",
  le: "<=",
  gt: ">",
  ge: ">=",
  eq: "==",
  ne: "!=",
} as const satisfies Record<CompareOp, string>;

/** Arithmetic is float32 throughout, so that rounding to it changes nothing. */
const rounding = {
  f32: (x) => x,
  bf16: (x) => `round_bf16(${x})`,
  i32: (x) => `(${x} < 0.0f ? m_ceil(${x}) : m_floor(${x}))`,
} as const satisfies Record<DType, (x: string) => string>;

/** A float32 literal that reads back as exactly this value. */
export function floatLiteral(value: number): string {
  const rounded = Math.fround(value);
  if (Number.isNaN(rounded)) return "bits_to_f32(0x7fc00000u)";
  if (!Number.isFinite(rounded)) return `bits_to_f32(0x${rounded > 0 ? "7f" : "ff"}800000u)`;
  const text = String(Number(rounded.toPrecision(9)));
  const literal = `${/[.e]/.test(text) ? text : `${text}.0`}f`;
  return Object.is(rounded, -0) ? "-0.0f" : literal;
}

function isUnary(op: string): op is UnaryOp {
  return Object.hasOwn(unary, op);
}
function isCompare(op: string): op is CompareOp {
  return Object.hasOwn(compare, op);
}

/** C++ text of an expression; `args[i]` is the text of argument i. */
export function printExpression(expr: Expr, args: readonly string[]): string {
  const walk = (e: Expr): string => printExpression(e, args);
  switch (expr.op) {
    case "arg": {
      const text = args[expr.index];
      if (text === undefined) {
        throw new RangeError(`expression argument ${expr.index} of ${args.length}`);
      }
      return text;
    }
    case "const":
      return floatLiteral(expr.value);
    case "select":
      return `(${walk(expr.cond)} != 0.0f ? ${walk(expr.x)} : ${walk(expr.y)})`;
    case "round":
      return rounding[expr.to](walk(expr.x));
    default:
      if (isCompare(expr.op)) {
        const e = expr as { readonly x: Expr; readonly y: Expr };
        return `(${walk(e.x)} ${compare[expr.op]} ${walk(e.y)} ? 1.0f : 0.0f)`;
      }
      if (isUnary(expr.op)) return unary[expr.op](walk((expr as { readonly x: Expr }).x));
      const e = expr as { readonly op: BinaryOp; readonly x: Expr; readonly y: Expr };
      return binary[e.op](walk(e.x), walk(e.y));
  }
}
