/**
 * @file A user's project: an empty folder with nothing of ours but the tarballs given, where a
 * program is typechecked, compiled and run by each Node at hand.
 */
import { spawnSync } from "node:child_process";
import {
  copyFileSync, existsSync, mkdirSync, readdirSync, realpathSync, writeFileSync,
} from "node:fs";
import { basename, delimiter, join } from "node:path";
import { pnpm } from "./build.ts";

const root = join(import.meta.dirname, "..");

export interface Consumer {
  /** Packages of ours that were installed, by name. */
  readonly installed: readonly string[];
  /** What the compiled program printed, by Node version. */
  readonly printed: ReadonlyMap<string, string>;
}

const compilerOptions = {
  target: "es2023",
  module: "nodenext",
  // For console; nothing of Node: our declarations must not need its types.
  lib: ["es2023", "dom"],
  types: [],
  strict: true,
  noUncheckedIndexedAccess: true,
  exactOptionalPropertyTypes: true,
  verbatimModuleSyntax: true,
  rootDir: "src",
  outDir: "out",
};

/**
 * Makes `folder`, empty so far, a project that depends on the tarballs given, by package name.
 * Returns the packages of ours that it then has.
 */
export function installTarballs(
  folder: string,
  tarballs: ReadonlyMap<string, string>,
): readonly string[] {
  const files = Object.fromEntries([...tarballs].map(([name, path]) => [name, `file:${path}`]));
  const json = { name: "consumer", private: true, type: "module", dependencies: files };
  writeFileSync(join(folder, "package.json"), JSON.stringify(json));
  // A tarball's own dependency on another of ours must be the tarball too, not the registry's.
  const workspace = { overrides: files, packages: ["."], allowBuilds: { koffi: true } };
  writeFileSync(join(folder, "pnpm-workspace.yaml"), JSON.stringify(workspace));
  pnpm(["install", "--prefer-offline", "--no-frozen-lockfile"], folder);
  const stored = readdirSync(join(folder, "node_modules", ".pnpm"));
  const names = stored.flatMap((entry) => /^@mpk\+([a-z]+)@/.exec(entry)?.[1] ?? []);
  return [...new Set(names.map((name) => `@mpk/${name}`))].sort();
}

/**
 * Makes a project in `folder`, with the program in `source` as its main.ts, and runs it.
 * @param tarballs by package name: all that is installed of ours
 * Throws with the tool's output when installing, typechecking or running fails.
 */
export function runConsumer(
  folder: string,
  source: string,
  tarballs: ReadonlyMap<string, string>,
): Consumer {
  const installed = installTarballs(folder, tarballs);
  const config = JSON.stringify({ compilerOptions, include: ["src"] });
  writeFileSync(join(folder, "tsconfig.json"), config);
  mkdirSync(join(folder, "src"));
  copyFileSync(source, join(folder, "src", "main.ts"));
  run(join(root, "node_modules", ".bin", "tsc"), ["-p", "."], folder);
  return { installed, printed: runOnEachNode(["out/main.js"], folder) };
}

/** What a script prints, by Node version. */
export function runOnEachNode(
  args: readonly string[],
  folder: string,
): ReadonlyMap<string, string> {
  return new Map(
    nodes().map((node) => [run(node, ["--version"], folder).trim(), run(node, args, folder)]),
  );
}

/** The Node that runs this, and the first other one in `PATH`: users have what they have. */
function nodes(): readonly string[] {
  const name = basename(process.execPath);
  const found = (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter((entry) => !entry.includes("node_modules"))
    .map((entry) => join(entry, name))
    .filter((path) => existsSync(path))
    .map((path) => realpathSync(path));
  return [...new Set([realpathSync(process.execPath), ...found.slice(0, 1)])];
}

function run(command: string, args: readonly string[], cwd: string): string {
  // The workspace's own flags and variables are not the user's.
  const { NODE_OPTIONS: _options, VITEST: _vitest, ...env } = process.env;
  const done = spawnSync(command, args, { cwd, env, encoding: "utf8" });
  if (done.status === 0) return done.stdout;
  const output = `${done.stdout}\n${done.stderr}`;
  throw new Error(`${basename(command)} ${args.join(" ")} in ${cwd} failed\n${output}`);
}
