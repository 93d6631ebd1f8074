/**
 * @file The repository's rules that no type checks: which package may import which, who owns which
 * library, and how a source file looks. Each rule gives violations as sentences.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Node, Project, SyntaxKind, ts, type SourceFile } from "ts-morph";

export const packageNames = [
  "ir", "schedule", "cuda", "ops", "dsl", "models", "runtime", "compiler", "cli",
] as const;
export type PackageName = (typeof packageNames)[number];

/** `types`: `import type` only. A list: these entry points only. */
type Arrow = "all" | "types" | readonly string[];

/** What each package may import of ours: the map of docs/README.md. */
export const arrows: Record<PackageName, Partial<Record<PackageName, Arrow>>> = {
  ir: {},
  schedule: { ir: "all" },
  cuda: { ir: "all", schedule: "all" },
  ops: { ir: "all", schedule: "types", cuda: "types" },
  dsl: { ir: "all", ops: ["@mpk/ops/semantics"] },
  models: { dsl: "all" },
  runtime: { cuda: ["@mpk/cuda/manifest"], ir: "all", schedule: "all" },
  compiler: {
    ir: "all", schedule: "all", cuda: "all", ops: "all", dsl: "all", models: "all", runtime: "all",
  },
  cli: { compiler: "all", runtime: "all", models: "all" },
};

/** Libraries that one file of one package wraps; nobody else knows them. */
export const wrapped: Readonly<Record<string, PackageName>> = {
  graphlib: "schedule",
  nunjucks: "cuda",
  koffi: "runtime",
  "ts-morph": "dsl",
};

/** Aimed at, and the generous limit that fails. */
export const budgets = {
  lines: { aim: 300, limit: 400 },
  columns: { aim: 100, limit: 110 },
} as const;

interface Import {
  readonly specifier: string;
  readonly typeOnly: boolean;
  readonly where: string;
}

/** The package a path belongs to, or null outside packages/NAME/src. */
export function packageOf(path: string): PackageName | null {
  const name = /(?:^|\/)packages\/([^/]+)\/src\//.exec(path)?.[1];
  return packageNames.find((known) => known === name) ?? null;
}

function importsOf(file: SourceFile): readonly Import[] {
  return file.getImportStringLiterals().map((literal) => {
    const parent = literal.getParentOrThrow();
    const declared = Node.isImportDeclaration(parent) || Node.isExportDeclaration(parent);
    const typeOnly = declared ? parent.isTypeOnly() : Node.isLiteralTypeNode(parent);
    const where = `${file.getFilePath()}:${literal.getStartLineNumber()}`;
    return { specifier: literal.getLiteralValue(), typeOnly, where };
  });
}

function arrowViolation(from: PackageName, found: Import): string | null {
  const target = /^@mpk\/([^/]+)/.exec(found.specifier)?.[1];
  if (target === undefined) return null;
  const to = packageNames.find((name) => name === target);
  if (to === undefined)
    return `${found.where}: ${found.specifier} is no package of this repository`;
  const allowed = arrows[from][to];
  const may = Object.keys(arrows[from]).map((name) => `@mpk/${name}`).join(", ") || "none of ours";
  if (allowed === undefined)
    return `${found.where}: @mpk/${from} imports ${found.specifier}; it may import ${may}`;
  if (allowed === "types" && !found.typeOnly)
    return `${found.where}: @mpk/${from} imports ${found.specifier} as values; use import type`;
  if (typeof allowed !== "string" && !allowed.includes(found.specifier))
    return `${found.where}: @mpk/${from} imports ${found.specifier}; only ${allowed.join(", ")}`;
  return null;
}

/** Arrows against the map, and paths that reach into another package or past its entry points. */
export function importViolations(
  files: readonly SourceFile[],
  entryPoints: (name: PackageName) => readonly string[],
): readonly string[] {
  const violations: string[] = [];
  for (const file of files) {
    const from = packageOf(file.getFilePath());
    if (from === null) continue;
    for (const found of importsOf(file)) {
      const broken = arrowViolation(from, found);
      if (broken !== null) violations.push(broken);
      const [, to, rest] = /^@mpk\/([^/]+)(\/.*)?$/.exec(found.specifier) ?? [];
      const known = packageNames.find((name) => name === to);
      if (known !== undefined && !entryPoints(known).includes(`.${rest ?? ""}`))
        violations.push(`${found.where}: ${found.specifier} is no entry point of @mpk/${known}`);
      if (!found.specifier.startsWith(".")) continue;
      const target = join(file.getDirectoryPath(), found.specifier);
      if (packageOf(target) !== from)
        violations.push(`${found.where}: ${found.specifier} leaves packages/${from}/src`);
    }
  }
  return violations;
}

/** Every library that a package imports is declared in its package.json. */
export function undeclaredViolations(
  files: readonly SourceFile[],
  declared: (name: PackageName) => readonly string[],
): readonly string[] {
  const violations: string[] = [];
  for (const file of files) {
    const from = packageOf(file.getFilePath());
    if (from === null) continue;
    for (const { specifier, where } of importsOf(file)) {
      const library = /^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier;
      if (/^(\.|node:)/.test(specifier) || library === `@mpk/${from}`) continue;
      if (!declared(from).includes(library))
        violations.push(`${where}: ${library} is not in packages/${from}/package.json`);
    }
  }
  return violations;
}

/** Each wrapped library has one importing file, in its owner. */
export function libraryViolations(files: readonly SourceFile[]): readonly string[] {
  const violations: string[] = [];
  for (const [library, owner] of Object.entries(wrapped)) {
    const importers = files
      .filter((file) => importsOf(file).some(({ specifier }) => isOf(specifier, library)))
      .map((file) => file.getFilePath());
    if (importers.length > 1)
      violations.push(`${library} is imported by ${importers.join(" and ")}; one file may wrap it`);
    for (const path of importers.filter((importer) => packageOf(importer) !== owner))
      violations.push(`${path}: ${library} belongs to @mpk/${owner}`);
  }
  return violations;
}

function isOf(specifier: string, library: string): boolean {
  const name = specifier.replace(/^@dagrejs\//, "");
  return name === library || name.startsWith(`${library}/`);
}

/** The role header, and the limits on size. `over` lists what is over the aim but within them. */
export function layoutViolations(path: string, text: string): {
  readonly violations: readonly string[];
  readonly over: readonly string[];
} {
  const violations: string[] = [];
  const over: string[] = [];
  if (path.endsWith(".ts") && !/^(#!.*\n)?\/\*\*[\s*]*@file\s+\S/.test(text))
    violations.push(`${path}: starts without its role, /** @file ... */`);
  const lines = text.replace(/\n$/, "").split("\n");
  const note = (size: number, kind: keyof typeof budgets, what: string): void => {
    if (size <= budgets[kind].aim) return;
    const list = size > budgets[kind].limit ? violations : over;
    list.push(`${what}: ${size} ${kind}, aim ${budgets[kind].aim}, limit ${budgets[kind].limit}`);
  };
  note(lines.length, "lines", path);
  lines.forEach((line, i) => note(line.length, "columns", `${path}:${i + 1}`));
  return { violations, over };
}

/** Every `any`, written or inferred, in what a file exports: read off its declaration file. */
export function anyViolations(project: Project, files: readonly SourceFile[]): readonly string[] {
  const own = new Set<string>(files.map((file) => file.getFilePath()));
  const violations: string[] = [];
  const program = project.getProgram().compilerObject;
  const collect = (name: string, text: string, sources: readonly string[]): void => {
    if (!sources.some((source) => own.has(source))) return;
    const parsed = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true);
    const visit = (node: ts.Node): void => {
      if (node.kind === SyntaxKind.AnyKeyword) {
        const line = text.slice(0, node.pos).split("\n").length;
        const shown = (text.split("\n")[line - 1] ?? "").trim();
        violations.push(`${sources[0] ?? name} exports any: ${shown}`);
      }
      ts.forEachChild(node, visit);
    };
    visit(parsed);
  };
  program.emit(
    undefined,
    (name, text, _mark, _error, sources) =>
      collect(name, text, (sources ?? []).map((source) => source.fileName)),
    undefined,
    true,
  );
  return violations;
}

/** Source files of all packages, tests left out; device code and templates only as text. */
export function sourcePaths(root: string): readonly string[] {
  const all = readdirSync(join(root, "packages"), { recursive: true, encoding: "utf8" });
  return all
    .filter((path) => /^[^/]+\/src\/.*\.(ts|cuh|njk|h|hpp|cpp)$/.test(path))
    .filter((path) => !path.includes("node_modules") && !path.endsWith(".test.ts"))
    .map((path) => join(root, "packages", path))
    .sort();
}

/** Subpaths of a package's `exports`. */
export function entryPointsOf(root: string, name: PackageName): readonly string[] {
  const path = join(root, "packages", name, "package.json");
  const { exports } = JSON.parse(readFileSync(path, "utf8")) as { exports?: object };
  return Object.keys(exports ?? {});
}

/** What a package's users get with it: dependencies and (optional) peers. */
export function declaredBy(root: string, name: PackageName): readonly string[] {
  const path = join(root, "packages", name, "package.json");
  const json = JSON.parse(readFileSync(path, "utf8")) as {
    readonly dependencies?: object;
    readonly peerDependencies?: object;
  };
  return Object.keys({ ...json.dependencies, ...json.peerDependencies });
}

/** This repository as a ts-morph project, declarations only. */
export function openRepository(root: string): Project {
  return new Project({
    tsConfigFilePath: join(root, "tsconfig.json"),
    skipAddingFilesFromTsConfig: true,
    compilerOptions: { noEmit: false, declaration: true, emitDeclarationOnly: true },
  });
}
