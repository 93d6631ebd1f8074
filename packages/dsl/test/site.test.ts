/** @file Call sites: the user's frame, whatever form the stack takes. */
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { siteOf } from "../src/site.ts";

const own = new URL("../src/node.ts", import.meta.url);
const stack = (...frames: readonly string[]): string =>
  ["Error", ...frames.map((frame) => `    at ${frame}`)].join("\n");

describe("siteOf", () => {
  it("is the first frame outside the DSL, as a URL or as a path", () => {
    const inner = [`TensorNode.matmul (${own.href}:10:5)`, `record (${fileURLToPath(own)}:3:1)`];
    const outer = "main (file:///far/main.ts:1:1)";
    for (const where of ["file:///far/away/my%20model.ts", "/far/away/my model.ts"]) {
      for (const frame of [`build (${where}:41:7)`, `${where}:41:7`]) {
        expect(siteOf(stack(...inner, frame, outer)))
          .toEqual({ file: "my model.ts", line: 41, column: 7 });
      }
    }
  });

  it("is relative to its package, wherever that lies, and skips Node's own frames", () => {
    const here = `${process.cwd()}/models/llama.ts`;
    expect(siteOf(stack("Array.map (<anonymous>)", "run (node:internal/main:3:4)", `${here}:5:6`)))
      .toEqual({ file: "models/llama.ts", line: 5, column: 6 });
  });

  it("is null where no frame is the user's", () => {
    expect(siteOf(stack("Array.map (<anonymous>)"))).toBeNull();
    expect(siteOf("")).toBeNull();
  });

  it("leaves out a loader's query", () => {
    expect(siteOf(stack("f (file:///far/model.ts?t=123:5:6)")))
      .toEqual({ file: "model.ts", line: 5, column: 6 });
  });
});
