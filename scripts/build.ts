/**
 * @file Compiles every package to its dist/ (ESM, declarations, maps) in dependency order, and
 * copies templates and device code beside the compiled files. `--pack FOLDER` also packs tarballs.
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync,
} from "node:fs";
import { join, resolve } from "node:path";
import ts from "typescript";

export interface Package {
  /** `@mpk/ir` */
  readonly name: string;
  readonly version: string;
  readonly folder: string;
  /** Packages of ours whose declarations its own refer to. */
  readonly needs: readonly string[];
  readonly bin: readonly string[];
}

export interface PackageJson {
  readonly name: string;
  readonly version: string;
  readonly engines?: Readonly<Record<string, string>>;
  readonly bin?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

const root = join(import.meta.dirname, "..");

function readPackage(folder: string): Package {
  const json = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as PackageJson;
  const needs = Object.keys({ ...json.dependencies, ...json.peerDependencies });
  return {
    name: json.name,
    version: json.version,
    folder,
    needs: needs.filter((name) => name.startsWith("@mpk/")),
    bin: Object.values(json.bin ?? {}),
  };
}

/** The packages asked for (all, if none) and all they need, each after what it needs. */
export function packagesInOrder(only: readonly string[] = []): readonly Package[] {
  const folders = readdirSync(join(root, "packages")).map((name) => join(root, "packages", name));
  const all = folders.filter((folder) => existsSync(join(folder, "package.json"))).map(readPackage);
  const byName = new Map(all.map((one) => [one.name, one]));
  const done = new Set<Package>();
  const visit = (name: string, path: readonly string[]): void => {
    const one = byName.get(name);
    if (one === undefined)
      throw new Error(`build: ${path.at(-1) ?? "the command"} names ${name}, which is no package`);
    if (path.includes(name))
      throw new Error(`build: ${[...path, name].join(" needs ")}; break the cycle`);
    if (done.has(one)) return;
    for (const need of one.needs) visit(need, [...path, name]);
    done.add(one);
  };
  for (const name of only.length > 0 ? only : byName.keys()) visit(name, []);
  return [...done];
}

/** Parsed library and dependency files, shared by the packages' compilations. */
function cachingHost(options: ts.CompilerOptions): ts.CompilerHost {
  const host = ts.createCompilerHost(options);
  const cache = new Map<string, ts.SourceFile | undefined>();
  const read = host.getSourceFile.bind(host);
  return {
    ...host,
    getSourceFile: (name, language, onError) => {
      if (!name.includes("node_modules")) return read(name, language, onError);
      if (!cache.has(name)) cache.set(name, read(name, language, onError));
      return cache.get(name);
    },
  };
}

function baseOptions(): ts.CompilerOptions {
  const path = join(root, "tsconfig.json");
  const config = ts.readConfigFile(path, (name) => ts.sys.readFile(name));
  const { options } = ts.convertCompilerOptionsFromJson(config.config.compilerOptions, root);
  return {
    ...options,
    // The published entry points of what was built before, as an installed package sees them.
    customConditions: [],
    noEmit: false,
    rewriteRelativeImportExtensions: true,
    declaration: true,
    declarationMap: true,
    sourceMap: true,
    noEmitOnError: true,
  };
}

/** `./x.ts` in declarations becomes `./x.js`, as the compiler itself does it in code only. */
const rewriteSpecifiers: ts.TransformerFactory<ts.SourceFile | ts.Bundle> = (context) => {
  const rewrite = (node: ts.Node): ts.Node =>
    ts.isStringLiteral(node) && /^\.\.?\/.*\.ts$/.test(node.text)
      ? context.factory.createStringLiteral(node.text.replace(/\.ts$/, ".js"))
      : node;
  const visit = (node: ts.Node): ts.Node => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node))
      return ts.visitEachChild(node, rewrite, context);
    const inside = ts.visitEachChild(node, visit, context);
    if (!ts.isImportTypeNode(inside)) return inside;
    // import("./x.ts").Y holds its specifier as a literal type.
    const literal = ts.visitEachChild(inside.argument, rewrite, context);
    const { attributes, qualifier, typeArguments, isTypeOf } = inside;
    return context.factory.updateImportTypeNode(
      inside, literal, attributes, qualifier, typeArguments, isTypeOf,
    );
  };
  return (file) => (ts.isBundle(file) ? file : ts.visitEachChild(file, visit, context));
};

/** Compiles one package. Throws with the compiler's messages. */
function compile(one: Package, base: ts.CompilerOptions, host: ts.CompilerHost): void {
  const source = join(one.folder, "src");
  const dist = join(one.folder, "dist");
  const files = readdirSync(source, { recursive: true, encoding: "utf8" });
  const code = files.filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"));
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(dist);
  const options = { ...base, rootDir: source, outDir: dist };
  const program = ts.createProgram(code.map((file) => join(source, file)), options, host);
  const emitted = program.emit(undefined, undefined, undefined, undefined, {
    afterDeclarations: [rewriteSpecifiers],
  });
  const diagnostics = [...ts.getPreEmitDiagnostics(program), ...emitted.diagnostics];
  if (diagnostics.length > 0) {
    const text = ts.formatDiagnostics(diagnostics, {
      getCanonicalFileName: (name) => name,
      getCurrentDirectory: () => root,
      getNewLine: () => "\n",
    });
    throw new Error(`build: ${one.name} does not compile\n${text}`);
  }
  cpSync(source, dist, { recursive: true, filter: (path) => !path.endsWith(".ts") });
  for (const bin of one.bin) chmodSync(join(one.folder, bin), 0o755);
}

/** Builds the packages asked for and what they need. */
export function build(only: readonly string[] = []): readonly Package[] {
  const packages = packagesInOrder(only);
  const base = baseOptions();
  const host = cachingHost(base);
  for (const one of packages) compile(one, base, host);
  return packages;
}

/** Runs pnpm: the one that runs this script, or the one of the README. */
export function pnpm(args: readonly string[], cwd: string): string {
  const own = process.env["npm_execpath"];
  const usesOwn = own !== undefined && /pnpm/.test(own);
  const isScript = usesOwn && /\.[cm]?js$/.test(own);
  const command = usesOwn ? (isScript ? process.execPath : own) : "npx";
  const before = usesOwn ? (isScript ? [own] : []) : ["-y", "pnpm@12"];
  const run = spawnSync(command, [...before, ...args], { cwd, encoding: "utf8" });
  if (run.status !== 0)
    throw new Error(`pnpm ${args.join(" ")} in ${cwd} failed\n${run.stdout}\n${run.stderr}`);
  return run.stdout;
}

/** Packs a built package; returns the tarball's path. */
export function pack(one: Package, folder: string): string {
  mkdirSync(folder, { recursive: true });
  pnpm(["pack", "--pack-destination", folder], one.folder);
  return join(folder, `${one.name.replace("@", "").replace("/", "-")}-${one.version}.tgz`);
}

/** A tarball's package.json, as those who install it get it. */
export function unpackedJson(tarball: string): PackageJson {
  const run = spawnSync("tar", ["-xzOf", tarball, "package/package.json"], { encoding: "utf8" });
  return JSON.parse(run.stdout) as PackageJson;
}

function main(args: readonly string[]): void {
  const [flag, folder, ...rest] = args;
  if (args.length > 0 && (flag !== "--pack" || folder === undefined || rest.length > 0))
    throw new Error(`build: arguments ${args.join(" ")}; expected nothing or --pack FOLDER`);
  for (const one of build()) {
    const tarball = folder === undefined ? "" : ` ${pack(one, resolve(folder))}`;
    process.stdout.write(`${one.name}${tarball}\n`);
  }
}

if (import.meta.main) main(process.argv.slice(2));
