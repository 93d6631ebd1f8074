/** @file Finds the line of the user's model that called the DSL. Knows V8's stack text. */
import { fileURLToPath } from "node:url";
import { readFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import type { CallSite } from "@mpk/ir";

const frame = /^\s+at (?:.*? \()?((?:file:\/\/|[A-Za-z]:\\|\/)[^()]*?):(\d+):(\d+)\)?$/;
const own = toPath(new URL(".", import.meta.url).href);

function toPath(location: string): string {
  const clean = location.replace(/[?#].*$/, "");
  return clean.startsWith("file://") ? fileURLToPath(clean) : clean;
}

/** A package's folder, and what its files are called after. */
interface Home {
  readonly folder: string;
  readonly prefix: string;
}

const homes = new Map<string, Home>();

/** The package that a folder belongs to; without one the folder stands for itself. */
function homeOf(folder: string): Home {
  const known = homes.get(folder);
  if (known !== undefined) return known;
  const parent = dirname(folder);
  const name = packageName(folder);
  const above = name === null && parent !== folder ? homeOf(parent) : null;
  const found = name !== null
    ? { folder, prefix: name === "" ? "" : `${name}/` }
    : above !== null && packageName(above.folder) !== null ? above : { folder, prefix: "" };
  homes.set(folder, found);
  return found;
}

/** The name of a folder's package; "": it has none that others know it by; null: it is no package. */
function packageName(folder: string): string | null {
  try {
    const text = readFileSync(join(folder, "package.json"), "utf8");
    const json = JSON.parse(text) as { readonly name?: unknown; readonly private?: unknown } | null;
    return json?.private !== true && typeof json?.name === "string" ? json.name : "";
  } catch {
    return null;
  }
}

/**
 * A file by its package and its path there, such as `@mpk/models/src/decoder.ts`, or `llama.ts` in an
 * application's folder: what is compiled must not depend on where that lies or who runs it from where.
 */
function display(path: string): string {
  const { folder, prefix } = homeOf(dirname(path));
  return prefix + relative(folder, path).split(sep).join("/");
}

/** The first frame outside this package, or null where the stack shows none. */
export function siteOf(stack: string): CallSite | null {
  for (const line of stack.split("\n")) {
    const [, location, row, column] = frame.exec(line) ?? [];
    if (location === undefined || row === undefined || column === undefined) continue;
    const path = toPath(location);
    if (path.startsWith(own)) continue;
    return { file: display(path), line: Number(row), column: Number(column) };
  }
  return null;
}

/** Where the running DSL method was called. Node applies source maps to the stack's text. */
export function callSite(): CallSite | null {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 16;
  const { stack } = new Error();
  Error.stackTraceLimit = limit;
  return stack === undefined ? null : siteOf(stack);
}
