/** @file The pages' code runs, and prints what the pages say. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { blocksOf, runPage } from "./blocks.ts";

const root = join(import.meta.dirname, "..");

describe("code blocks", () => {
  it.each(["README.md", "docs/tutorial.md"])("%s runs as it says", { timeout: 180_000 }, (page) => {
    for (const { line, printed, shown } of runPage(join(root, page))) {
      const hint = `node --conditions=@mpk/source docs/blocks.ts ${page} writes what is printed`;
      expect(printed, `${page}:${line} prints something else; if rightly so, ${hint}`).toBe(shown);
    }
  });

  it("are found with their language, file and line", () => {
    const page = "# T\n\n```ts\n// file: a.ts\nf();\n```\ntext\n```sh\nls\n```\n";
    expect(blocksOf(page)).toEqual([
      { language: "ts", file: "a.ts", text: "// file: a.ts\nf();\n", line: 4 },
      { language: "sh", file: null, text: "ls\n", line: 9 },
    ]);
  });
});
