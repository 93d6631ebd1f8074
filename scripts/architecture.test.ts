/** @file The repository keeps its own rules, and each rule catches what it is for. */
import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { Project } from "ts-morph";
import { describe, expect, it } from "vitest";
import {
  anyViolations, arrows, declaredBy, entryPointsOf, importViolations, layoutViolations,
  libraryViolations, openRepository, packageNames, sourcePaths, undeclaredViolations,
  type PackageName,
} from "./architecture.ts";

const root = join(import.meta.dirname, "..");
const paths = sourcePaths(root);
const project = openRepository(root);
const files = paths
  .filter((path) => path.endsWith(".ts"))
  .map((path) => project.addSourceFileAtPath(path));

describe("this repository", () => {
  it("imports only along the map's arrows, through entry points", () => {
    const found = importViolations(files, (name) => entryPointsOf(root, name));
    expect(found).toEqual([]);
  });

  it("wraps each library in one file of its owner", () => {
    expect(libraryViolations(files)).toEqual([]);
  });

  it("declares what it imports, and depends on no more of ours than the arrows say", () => {
    const declared = (name: PackageName): readonly string[] => declaredBy(root, name);
    expect(undeclaredViolations(files, declared)).toEqual([]);
    for (const name of packageNames) {
      const own = declared(name).filter((key) => key.startsWith("@mpk/"));
      const allowed = Object.keys(arrows[name]).map((other) => `@mpk/${other}`);
      expect(own.filter((key) => !allowed.includes(key)), name).toEqual([]);
    }
  });

  it("depends on libraries that run on the Node it promises", () => {
    for (const name of packageNames) {
      const folder = join(root, "packages", name);
      const oldest = (json: string): number => {
        const { engines } = JSON.parse(readFileSync(json, "utf8")) as {
          engines?: { node?: string };
        };
        return Number(/\d+/.exec(engines?.node ?? "")?.[0] ?? 0);
      };
      const promised = oldest(join(folder, "package.json"));
      const libraries = declaredBy(root, name).filter((library) => !library.startsWith("@mpk/"));
      const tooNew = libraries.filter(
        (library) => oldest(join(folder, "node_modules", library, "package.json")) > promised,
      );
      expect(tooNew, `@mpk/${name} promises Node ${promised}`).toEqual([]);
    }
  });

  it("states each file's role and keeps files and lines within the limits", () => {
    const checked = paths.map((path) =>
      layoutViolations(relative(root, path), readFileSync(path, "utf8")),
    );
    const over = checked.flatMap((one) => one.over);
    if (over.length > 0) console.log(`${over.length} over the aim, within the limit: ${over[0]}, …`);
    expect(checked.flatMap((one) => one.violations)).toEqual([]);
  });

  it("exports no any, written or inferred", () => {
    expect(anyViolations(project, files)).toEqual([]);
  });
});

const entries = (name: PackageName): readonly string[] =>
  name === "ops" ? [".", "./semantics"] : ["."];

/** A repository of one file, to break rules in. */
function repository(
  path: string,
  text: string,
  libraries = false,
): readonly [Project, readonly string[]] {
  const one = new Project({
    useInMemoryFileSystem: true,
    skipLoadingLibFiles: !libraries,
    compilerOptions: { declaration: true, emitDeclarationOnly: true, strict: true },
  });
  one.createSourceFile(`/packages/${path}`, text);
  const all = one.getSourceFiles();
  const declared = (): readonly string[] => packageNames.map((name) => `@mpk/${name}`);
  return [
    one,
    [
      ...importViolations(all, entries),
      ...libraryViolations(all),
      ...undeclaredViolations(all, declared),
    ],
  ];
}

describe("the rules", () => {
  it.each([
    ["ir/src/a.ts", `import { x } from "@mpk/ops";`, "may import none of ours"],
    ["ir/src/a.ts", `import type { x } from "@mpk/schedule";`, "may import none of ours"],
    ["ir/src/a.ts", `export const x = import("@mpk/cuda");`, "may import none of ours"],
    ["ops/src/a.ts", `import { x } from "@mpk/schedule";`, "use import type"],
    ["ops/src/a.ts", `import { type X } from "@mpk/schedule";`, "use import type"],
    ["ops/src/a.ts", `export * from "@mpk/cuda";`, "use import type"],
    ["dsl/src/a.ts", `import { x } from "@mpk/ops";`, "only @mpk/ops/semantics"],
    ["cuda/src/a.ts", `import { x } from "@mpk/ir/src/print.ts";`, "is no entry point of @mpk/ir"],
    ["cuda/src/a.ts", `import { x } from "../../ir/src/print.ts";`, "leaves packages/cuda/src"],
    ["cli/src/a.ts", `import { x } from "@mpk/nothing";`, "is no package of this repository"],
    ["ir/src/a.ts", `import z from "zod/v4";`, "zod is not in packages/ir/package.json"],
    ["ir/src/a.ts", `import g from "@dagrejs/graphlib";`, "belongs to @mpk/schedule"],
  ])("%s: %s", (path, text, message) => {
    expect(repository(path, text)[1].join("\n")).toContain(message);
  });

  it.each([
    ["ops/src/a.ts", `import type { X } from "@mpk/schedule";`],
    ["ops/src/a.ts", `export type A = import("@mpk/cuda").Body;`],
    ["dsl/src/a.ts", `import { x } from "@mpk/ops/semantics";`],
    ["schedule/src/deep/a.ts", `import { x } from "../b.ts"; import "node:fs";`],
  ])("allow %s: %s", (path, text) => {
    expect(repository(path, text)[1]).toEqual([]);
  });

  it("find an any that is only inferred", () => {
    const text = `export const parse = (s: string) => JSON.parse(s);`;
    const [one] = repository("ir/src/a.ts", text, true);
    expect(anyViolations(one, one.getSourceFiles()).join()).toContain("exports any");
  });

  it("find missing roles, long files and long lines", () => {
    const long = `const x = "${"x".repeat(120)}";\n`.repeat(401);
    const found = layoutViolations("a.ts", long).violations;
    expect(found[0]).toContain("without its role");
    expect(found[1]).toContain("401 lines");
    expect(found[2]).toContain("a.ts:1: 133 columns");
    expect(layoutViolations("a.ts", "/** @file Does nothing. */\n").violations).toEqual([]);
  });
});
