/** @file The pages' code runs and prints what the pages say; their links lead somewhere. */
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { blocksOf, runPage } from "./blocks.ts";

const root = join(import.meta.dirname, "..");
const fences = /^```[\s\S]*?^```$/gm;

/** What GitHub makes of a page's headings, to link to. */
function anchorsOf(page: string): ReadonlySet<string> {
  const headings = page.replaceAll(fences, "").matchAll(/^#+ (.*)$/gm);
  return new Set([...headings].map(([, text = ""]) =>
    text.toLowerCase().replaceAll(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-")));
}

describe("links", () => {
  const pages = globSync(["*.md", "{docs,packages,examples}/**/*.md"], {
    cwd: root,
    exclude: (path) => /node_modules|dist|changeset|docs.api/.test(path),
  });

  it.each(pages)("of %s lead to files", (page) => {
    const text = readFileSync(join(root, page), "utf8").replaceAll(fences, "");
    const targets = [...text.matchAll(/\]\(([^)#:\s]+)[^):]*\)/g)].map((match) => match[1] ?? "");
    const missing = targets.filter((target) => !existsSync(join(root, dirname(page), target)));
    expect(missing).toEqual([]);
  });

  it.each(pages)("of %s lead to sections", (page) => {
    const text = readFileSync(join(root, page), "utf8").replaceAll(fences, "");
    const targets = [...text.matchAll(/\]\(([^)#:\s]*)#([^)\s]+)\)/g)];
    const missing = targets.filter(([, file = "", anchor = ""]) => {
      const target = file === "" ? page : join(dirname(page), file);
      return !anchorsOf(readFileSync(join(root, target), "utf8")).has(anchor);
    });
    expect(missing.map(([link]) => link)).toEqual([]);
  });
});

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
