/** @file Splits text into tokens with their places, for programs and expressions. */

/** Text that is not what was expected; the message begins with line and column, both from 1. */
export class ParseError extends Error {
  override readonly name = "ParseError";
  readonly line: number;
  readonly column: number;

  constructor(line: number, column: number, expected: string, got: string) {
    super(`${line}:${column}: expected ${expected}, got ${got}`);
    this.line = line;
    this.column = column;
  }
}

export type TokenKind =
  | "value" | "word" | "number" | "string" | "expression" | "id" | "mark" | "end" | "unknown";

export interface Token {
  readonly kind: TokenKind;
  /** What it says: without quotes, escapes resolved. */
  readonly text: string;
  readonly line: number;
  readonly column: number;
}

// The first that matches wins. Quoted texts are JSON strings.
const patterns: readonly (readonly [TokenKind | "space", RegExp])[] = [
  ["space", /\s+|\/\/[^\n]*/y],
  ["value", /%(?:"(?:[^"\\\n]|\\.)*"|[\w.+-]+)/y],
  ["id", /#\d+/y],
  ["number", /(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?/y],
  ["word", /[A-Za-z_][\w.]*/y],
  ["string", /"(?:[^"\\\n]|\\.)*"/y],
  ["expression", /`[^`]*`/y],
  ["mark", /<=|>=|==|!=|[()[\]{},:;=+\-*/<>]/y],
  ["unknown", /[^]/y],
];

/** A cursor over tokens. */
export interface Scanner {
  readonly peek: Token;
  next(): Token;
  /** Whether the next token is this mark or word. */
  at(text: string): boolean;
  /** Takes the next token if it is this mark or word. */
  take(text: string): boolean;
  /** Takes this mark or word, or throws `ParseError`. */
  expect(text: string): Token;
  /** Takes a token of this kind, or throws `ParseError` saying what was wanted. */
  expectKind(kind: TokenKind, what: string): Token;
  /** Throws `ParseError` at a token, the next one if none is given. */
  fail(expected: string, token?: Token): never;
}

/** A cursor at the start of `text`; `line` and `column` say where the text itself begins. */
export function scan(text: string, line = 1, column = 1): Scanner {
  const tokens = tokenize(text, line, column);
  const last = tokens.at(-1) ?? { kind: "end", text: "", line, column };
  let index = 0;
  const peek = (): Token => tokens[index] ?? last;
  const fail = (expected: string, token = peek()): never => {
    throw new ParseError(token.line, token.column, expected, got(token));
  };
  const next = (): Token => {
    const token = peek();
    index++;
    return token;
  };
  const at = (wanted: string): boolean => {
    const { kind, text: said } = peek();
    return (kind === "mark" || kind === "word") && said === wanted;
  };
  return {
    get peek() {
      return peek();
    },
    next,
    at,
    take: (wanted) => at(wanted) && next() !== undefined,
    expect: (wanted) => (at(wanted) ? next() : fail(`"${wanted}"`)),
    expectKind: (kind, what) => (peek().kind === kind ? next() : fail(what)),
    fail,
  };
}

function got(token: Token): string {
  if (token.kind === "end") return "the end";
  return token.kind === "value" ? `%${token.text}` : JSON.stringify(token.text);
}

function tokenize(text: string, startLine: number, startColumn: number): readonly Token[] {
  const tokens: Token[] = [];
  let [line, column, offset] = [startLine, startColumn, 0];
  while (offset < text.length) {
    const [kind, found] = longestAt(text, offset);
    if (kind !== "space") tokens.push({ kind, text: content(kind, found), line, column });
    const breaks = found.split("\n");
    line += breaks.length - 1;
    column = breaks.length > 1 ? (breaks.at(-1)?.length ?? 0) + 1 : column + found.length;
    offset += found.length;
  }
  tokens.push({ kind: "end", text: "", line, column });
  return tokens;
}

function longestAt(text: string, offset: number): readonly [TokenKind | "space", string] {
  for (const [kind, pattern] of patterns) {
    pattern.lastIndex = offset;
    const match = pattern.exec(text);
    if (match) return [kind, match[0]];
  }
  return ["unknown", text.slice(offset)];
}

function content(kind: TokenKind, found: string): string {
  switch (kind) {
    case "string":
      return unquote(found);
    case "value":
      return found[1] === '"' ? unquote(found.slice(1)) : found.slice(1);
    case "expression":
      return found.slice(1, -1);
    case "id":
      return found.slice(1);
    default:
      return found;
  }
}

/** A JSON string's content; as it stands where an escape is not JSON's. */
function unquote(quoted: string): string {
  try {
    return String(JSON.parse(quoted));
  } catch {
    return quoted;
  }
}

/** A number so that it reads back exactly, negative zero included. */
export function numberText(x: number): string {
  return Object.is(x, -0) ? "-0" : String(x);
}
