/** @file Turns a TypeScript arrow function into an Expr. The only file that imports ts-morph. */
import { createRequire } from "node:module";
import { ShapeError, exprChildren } from "@mpk/ir";
import type { BinaryOp, CompareOp, Expr, UnaryOp } from "@mpk/ir";
import type * as TsMorph from "ts-morph";

/** Takes most of a second to load: only programs that use `map` pay for it. */
let morph: typeof TsMorph | undefined;
const load = (): typeof TsMorph =>
  (morph ??= createRequire(import.meta.url)("ts-morph") as typeof TsMorph);

/** A subexpression as JavaScript sees it. A boolean may only decide; it is never arithmetic. */
interface Term {
  readonly kind: "number" | "boolean";
  readonly expr: Expr;
}
type Scope = ReadonlyMap<string, Term>;

const mathUnary = {
  abs: "abs", exp: "exp", log: "log", sqrt: "sqrt", tanh: "tanh", sin: "sin", cos: "cos",
  floor: "floor", ceil: "ceil",
} as const satisfies Record<string, UnaryOp>;
const mathFold = { min: "min", max: "max" } as const satisfies Record<string, BinaryOp>;
const mathConstants = {
  PI: Math.PI, E: Math.E, LN2: Math.LN2, LN10: Math.LN10, LOG2E: Math.LOG2E, LOG10E: Math.LOG10E,
  SQRT2: Math.SQRT2, SQRT1_2: Math.SQRT1_2,
} as const satisfies Record<string, number>;
const arithmetic = {
  "+": "add", "-": "sub", "*": "mul", "/": "div", "**": "pow",
} as const satisfies Record<string, BinaryOp>;
const comparisons = {
  "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "===": "eq", "!==": "ne", "==": "eq", "!=": "ne",
} as const satisfies Record<string, CompareOp>;
/** On 0 and 1. */
const logic = { "&&": "mul", "||": "max" } as const satisfies Record<string, BinaryOp>;

const supportedMath = [...Object.keys(mathUnary), ...Object.keys(mathFold), "pow", "fround"]
  .map((name) => `Math.${name}`).join(", ");
/** Locals are written out at each use, so an expression may grow without bound. */
const maxNodes = 4096;

/** Refuses what grows beyond `maxNodes`; counts no further, since sharing may be exponential. */
function bounded(node: TsMorph.Node, term: Term): Term {
  const pending = [term.expr];
  for (let nodes = 1; ; nodes++) {
    const next = pending.pop();
    if (!next) return term;
    if (nodes > maxNodes) {
      refuse(node, `has over ${maxNodes} operations once locals are written out`, "split the map");
    }
    pending.push(...exprChildren(next));
  }
}

const pick = <V>(table: Readonly<Record<string, V>>, key: string): V | undefined =>
  Object.hasOwn(table, key) ? table[key] : undefined;

/** Refuses a piece of the function: the token, where it is in the function, why, and what to do. */
function refuse(node: TsMorph.Node, why: string, fix: string): never {
  const lines = node.getSourceFile().getFullText().slice(1, node.getStart()).split("\n");
  const column = (lines.at(-1) ?? "").length + 1;
  const text = node.getText().replace(/\s+/g, " ");
  const token = text.length > 40 ? `${text.slice(0, 37)}...` : text;
  throw new ShapeError(
    `\`${token}\` (line ${lines.length}, column ${column} of the function): ${why}; ${fix}`,
  );
}

/** The number a literal or a constant stands for, as an expression. */
function constant(node: TsMorph.Node, value: number): Term {
  if (!Number.isFinite(value) || !Number.isFinite(Math.fround(value))) {
    refuse(node, "is not a finite float32 number", "use a value below 3.4e38");
  }
  return { kind: "number", expr: { op: "const", value } };
}

function numeric(node: TsMorph.Node, scope: Scope): Expr {
  const term = translate(node, scope);
  if (term.kind === "number") return term.expr;
  return refuse(node, "is a condition, a number is needed here", "write `condition ? 1 : 0`");
}

function condition(node: TsMorph.Node, scope: Scope): Expr {
  const term = translate(node, scope);
  if (term.kind === "boolean") return term.expr;
  return refuse(node, "is a number, a condition is needed here", "compare it, as in `x !== 0`");
}

function translate(node: TsMorph.Node, scope: Scope): Term {
  const { Node } = load();
  if (Node.isParenthesizedExpression(node)) return translate(node.getExpression(), scope);
  // Not getLiteralValue, which reads 1e-5 as 1. The compiler's text has no prefix or separators.
  if (Node.isNumericLiteral(node)) return constant(node, Number(node.compilerNode.text));
  if (Node.isIdentifier(node)) return identifier(node, scope);
  if (Node.isPrefixUnaryExpression(node)) return prefix(node, scope);
  if (Node.isBinaryExpression(node)) return binary(node, scope);
  if (Node.isConditionalExpression(node)) return ternary(node, scope);
  if (Node.isCallExpression(node)) return call(node, scope);
  if (Node.isPropertyAccessExpression(node)) return mathConstant(node);
  return refuse(
    node, `a ${node.getKindName()} is outside what map accepts`,
    "use arithmetic, Math functions, comparisons, ternaries, const locals and numbers",
  );
}

function identifier(node: TsMorph.Identifier, scope: Scope): Term {
  const name = node.getText();
  const term = scope.get(name);
  if (term) return term;
  if (name === "Infinity" || name === "NaN" || name === "undefined") {
    return refuse(node, "is not a finite number", "use a number");
  }
  return refuse(
    node, "is captured from outside the function, where the kernel cannot see it",
    `write its value as a number, or pass a tensor: x.map((x, ${name}) => ..., ${name})`,
  );
}

function prefix(node: TsMorph.PrefixUnaryExpression, scope: Scope): Term {
  const { SyntaxKind } = load();
  const operand = node.getOperand();
  switch (node.getOperatorToken()) {
    case SyntaxKind.MinusToken:
      return { kind: "number", expr: { op: "neg", x: numeric(operand, scope) } };
    case SyntaxKind.PlusToken:
      return { kind: "number", expr: numeric(operand, scope) };
    case SyntaxKind.ExclamationToken: {
      const zero = { op: "const", value: 0 } as const;
      return { kind: "boolean", expr: { op: "eq", x: condition(operand, scope), y: zero } };
    }
    default:
      return refuse(node, "this operator is not supported", "use + - * / ** and Math functions");
  }
}

function binary(node: TsMorph.BinaryExpression, scope: Scope): Term {
  const token = node.getOperatorToken();
  const [left, right] = [node.getLeft(), node.getRight()];
  const math = pick(arithmetic, token.getText());
  if (math) {
    const [x, y] = [numeric(left, scope), numeric(right, scope)];
    return { kind: "number", expr: { op: math, x, y } };
  }
  const compare = pick(comparisons, token.getText());
  if (compare) {
    const [x, y] = [numeric(left, scope), numeric(right, scope)];
    return { kind: "boolean", expr: { op: compare, x, y } };
  }
  const join = pick(logic, token.getText());
  if (join) {
    const [x, y] = [condition(left, scope), condition(right, scope)];
    return { kind: "boolean", expr: { op: join, x, y } };
  }
  const known = [...Object.keys(arithmetic), ...Object.keys(comparisons), ...Object.keys(logic)];
  return refuse(token, "this operator is not supported", `use one of ${known.join(" ")}`);
}

function ternary(node: TsMorph.ConditionalExpression, scope: Scope): Term {
  const cond = condition(node.getCondition(), scope);
  const x = translate(node.getWhenTrue(), scope);
  const y = translate(node.getWhenFalse(), scope);
  if (x.kind !== y.kind) {
    refuse(node, "one branch is a number, the other a condition", "make both numbers");
  }
  return { kind: x.kind, expr: { op: "select", cond, x: x.expr, y: y.expr } };
}

/** `name` of `Math.name`, or null for any other expression. A parameter may hide Math. */
function mathMember(node: TsMorph.Node, scope?: Scope): string | null {
  if (!load().Node.isPropertyAccessExpression(node) || node.hasQuestionDotToken()) return null;
  return node.getExpression().getText() === "Math" && !scope?.has("Math") ? node.getName() : null;
}

function mathConstant(node: TsMorph.PropertyAccessExpression): Term {
  const name = mathMember(node);
  const value = name === null ? undefined : pick(mathConstants, name);
  if (value !== undefined) return constant(node, value);
  return refuse(
    node, "only constants of Math can be read here, such as Math.PI",
    "write the value as a number, or pass it as a tensor",
  );
}

function call(node: TsMorph.CallExpression, scope: Scope): Term {
  const callee = node.getExpression();
  const name = mathMember(callee, scope);
  if (name === null) {
    refuse(callee, "only functions of Math can be called", `write it out, or use ${supportedMath}`);
  }
  const args = node.getArguments().map((arg) => numeric(arg, scope));
  const [x, y] = args;
  const count = (wanted: string, ok: boolean): void => {
    if (!ok) refuse(node, `Math.${name} takes ${wanted}, got ${args.length}`, "correct the call");
  };
  const unary = pick(mathUnary, name);
  if (unary || name === "fround") {
    count("1 argument", args.length === 1);
    const round = { op: "round", to: "f32" } as const;
    if (x) return { kind: "number", expr: unary ? { op: unary, x } : { ...round, x } };
  }
  const fold = pick(mathFold, name);
  if (fold) {
    count("1 argument or more", args.length >= 1);
    return { kind: "number", expr: args.reduce((a, b) => ({ op: fold, x: a, y: b })) };
  }
  if (name === "pow") {
    count("2 arguments", args.length === 2);
    if (x && y) return { kind: "number", expr: { op: "pow", x, y } };
  }
  return refuse(callee, "this function of Math is not supported", `use ${supportedMath}`);
}

/** The value of `{ const a = ...; return ...; }`. */
function block(body: TsMorph.Block, scope: Scope): Term {
  const { Node, VariableDeclarationKind } = load();
  let inner = scope;
  for (const statement of body.getStatements()) {
    if (Node.isReturnStatement(statement)) {
      const value = statement.getExpression();
      return value ? translate(value, inner)
        : refuse(statement, "returns nothing", "return a number");
    }
    if (!Node.isVariableStatement(statement)) {
      refuse(statement, "only const locals and one return are accepted", "use a ternary");
    }
    if (statement.getDeclarationKind() !== VariableDeclarationKind.Const) {
      refuse(statement, "this local can change", "declare it with const");
    }
    for (const local of statement.getDeclarations()) {
      const [name, value] = [local.getNameNode(), local.getInitializer()];
      if (!Node.isIdentifier(name)) {
        refuse(name, "destructuring is not accepted", "name each value");
      }
      if (!value) refuse(local, "has no value", "give it one");
      inner = new Map(inner).set(name.getText(), bounded(local, translate(value, inner)));
    }
  }
  return refuse(body, "returns nothing", "end with `return` and a number");
}

function parameters(arrow: TsMorph.ArrowFunction): Scope {
  const { Node } = load();
  return new Map(arrow.getParameters().map((parameter, index) => {
    const name = parameter.getNameNode();
    if (!Node.isIdentifier(name) || parameter.isRestParameter() || parameter.hasInitializer()) {
      return refuse(parameter, "only plain parameters are accepted", "use one name per tensor");
    }
    return [name.getText(), { kind: "number", expr: { op: "arg", index } }];
  }));
}

/** What `map` makes of a function, by its source text. */
export interface MappedFunction {
  readonly expr: Expr;
  readonly parameters: number;
}

const known = new Map<string, MappedFunction>();

/**
 * The expression that an arrow function's source text means: argument i is parameter i, all
 * arithmetic in float32. The accepted subset is listed in docs/map.md. Throws `ShapeError` with
 * the offending token and its position in the function.
 */
export function parseMapFunction(source: string): MappedFunction {
  const cached = known.get(source);
  if (cached) return cached;
  const { Node, Project } = load();
  const project = new Project({ useInMemoryFileSystem: true, skipLoadingLibFiles: true });
  // In parentheses, so that `{` opens a body; positions in messages allow for the first one.
  const file = project.createSourceFile("map.ts", `(${source})`);
  const [statement] = file.getStatements();
  const outer = Node.isExpressionStatement(statement) ? statement.getExpression() : undefined;
  const arrow = Node.isParenthesizedExpression(outer) ? outer.getExpression() : undefined;
  if (!Node.isArrowFunction(arrow) || arrow.isAsync()) {
    throw new ShapeError(
      `map takes an arrow function, got \`${source.replace(/\s+/g, " ").slice(0, 60)}\`; `
        + "write it in place, such as x.map((x) => Math.exp(x))",
    );
  }
  const scope = parameters(arrow);
  const body = arrow.getBody();
  const term = bounded(body, Node.isBlock(body) ? block(body, scope) : translate(body, scope));
  if (term.kind !== "number") refuse(body, "gives a condition", "write `condition ? 1 : 0`");
  const mapped: MappedFunction = Object.freeze({ expr: term.expr, parameters: scope.size });
  known.set(source, mapped);
  return mapped;
}
