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
 * Makes the project, with the program in `source` as its main.ts, and runs it.
 * @param folder empty
 * @param tarballs by package name: all that is installed of ours
 * Throws with the tool's output when installing, typechecking or running fails.
 */
export function runConsumer(
  folder: string,
  source: string,
  tarballs: ReadonlyMap<string, string>,
): Consumer {
  const files = Object.fromEntries([...tarballs].map(([name, path]) => [name, `file:${path}`]));
  const write = (name: string, content: string): void => writeFileSync(join(folder, name), content);
  const json = { name: "consumer", private: true, type: "module", dependencies: files };
  write("package.json", JSON.stringify(json));
  // A tarball's own dependency on another of ours must be the tarball too, not the registry's.
  write("pnpm-workspace.yaml", JSON.stringify({ overrides: files, packages: ["."] }));
  write("tsconfig.json", JSON.stringify({ compilerOptions, include: ["src"] }));
  mkdirSync(join(folder, "src"));
  copyFileSync(source, join(folder, "src", "main.ts"));

  pnpm(["install", "--prefer-offline", "--ignore-scripts", "--no-frozen-lockfile"], folder);
  const stored = readdirSync(join(folder, "node_modules", ".pnpm"));
  const ours = stored.map((entry) => /^@mpk\+([a-z]+)@/.exec(entry)?.[1]);
  const installed = new Set(ours.filter((name) => name !== undefined).map((name) => `@mpk/${name}`));

  run(join(root, "node_modules", ".bin", "tsc"), ["-p", "."], folder);
  const printed = new Map<string, string>();
  for (const node of nodes()) {
    const version = run(node, ["--version"], folder).trim();
    printed.set(version, run(node, ["out/main.js"], folder));
  }
  return { installed: [...installed].sort(), printed };
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
