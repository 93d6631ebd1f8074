/** @file JSON files as untrusted input: bounded in size and nesting, checked against a schema. */
import type { z } from "zod";
import { inputError, messageOf } from "./errors.ts";
import { readBounded } from "./files.ts";

const mib = 2 ** 20;

/** What is read at most. Far above every published checkpoint, far below what hurts. */
export const jsonLimits = Object.freeze({
  /** config.json, generation_config.json, tokenizer_config.json: published ones have 0.1 MB. */
  configBytes: 16 * mib,
  /** tokenizer.json: a vocabulary of 262,144 tokens takes 33 MB. */
  tokenizerBytes: 256 * mib,
  /** model.safetensors.index.json: 90,000 tensors take 9 MB. */
  indexBytes: 64 * mib,
  /** Brackets inside one another. */
  depth: 64,
  /** Values of one file, for a parsed one takes up to 100 bytes; the largest tokenizers have 2e6. */
  values: 2 ** 22,
});

/** What is expected of a field, as `error` of a zod type: zod's own wording is not for users. */
export const want = (what: string) => ({ error: `expected ${what}` });

/**
 * JSON from bytes. Nesting and the number of values are bounded before anything is built.
 * @param who named in errors.
 */
export function parseJson(bytes: Uint8Array, who: string, fix: string): unknown {
  const problem = boundsProblem(bytes);
  if (problem !== null) throw inputError(`${who}: ${problem}`, fix);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw inputError(`${who}: not JSON: ${messageOf(error)}`, fix, error);
  }
}

const code = (character: string): number => character.charCodeAt(0);
const [quote, backslash, comma] = [code('"'), code("\\"), code(",")];
const [open, close] = [[code("["), code("{")] as const, [code("]"), code("}")] as const];

/** UTF-8 needs no decoding here: the bytes of other characters are all above 127. */
function boundsProblem(bytes: Uint8Array): string | null {
  let depth = 0;
  let values = 1;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === quote) {
      for (i++; i < bytes.length && bytes[i] !== quote; i++) if (bytes[i] === backslash) i++;
    } else if (byte === comma) {
      values++;
    } else if (byte === open[0] || byte === open[1]) {
      values++;
      if (++depth > jsonLimits.depth) return `nested deeper than ${jsonLimits.depth} brackets`;
    } else if (byte === close[0] || byte === close[1]) {
      depth--;
    }
  }
  return values > jsonLimits.values ? `more than ${jsonLimits.values} values` : null;
}

/** The JSON of a file of at most `maxBytes`. @throws MpkError naming the file. */
export function readJsonFile(path: string, maxBytes: number): unknown {
  return parseJson(readBounded(path, maxBytes), path, "the file must hold JSON");
}

/** As `readJsonFile`, narrowed. @throws MpkError naming the file and the first wrong field. */
export function readJson<T>(path: string, schema: z.ZodType<T>, maxBytes: number): T {
  return narrow(readJsonFile(path, maxBytes), schema, path);
}

/** A value that fits a schema. @throws MpkError naming `who` and the first wrong field. */
export function narrow<T>(
  value: unknown,
  schema: z.ZodType<T>,
  who: string,
  fix = "compare the file with the one published beside the model",
): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw inputError(`${who}: ${issueText(result.error)}`, fix);
}

/** The first wrong field and what was expected there; schemas word that with `want`. */
export function issueText(error: z.ZodError): string {
  const [issue] = error.issues;
  const field = issue?.path.length ? `${issue.path.join(".")}: ` : "";
  return `${field}${issue?.message ?? "malformed"}`;
}
