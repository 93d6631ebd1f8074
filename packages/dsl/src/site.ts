/** @file Finds the line of the user's model that called the DSL. Knows V8's stack text. */
import { fileURLToPath } from "node:url";
import { relative, sep } from "node:path";
import type { CallSite } from "@mpk/ir";

const frame = /^\s+at (?:.*? \()?((?:file:\/\/|[A-Za-z]:\\|\/)[^()]*?):(\d+):(\d+)\)?$/;
const own = toPath(new URL(".", import.meta.url).href);

function toPath(location: string): string {
  const clean = location.replace(/[?#].*$/, "");
  return clean.startsWith("file://") ? fileURLToPath(clean) : clean;
}

/** Paths below the working directory are shown relative to it, as compilers do. */
function display(path: string): string {
  const local = relative(process.cwd(), path);
  return local === "" || local.startsWith("..") ? path : local.split(sep).join("/");
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
