/**
 * @file Builds the documentation site into docs/.vitepress/dist: a page per package from the sources'
 * comments, then all pages; a link that leads nowhere fails. `--serve` shows it while pages change.
 */
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runChild } from "./runs.ts";

const root = join(import.meta.dirname, "..");
const api = join(root, "docs", "api");
const bin = (name: string): string => join(root, "node_modules", ".bin", name);

async function must(command: string, args: readonly string[], seconds: number | null): Promise<void> {
  const ended = await runChild(bin(command), args, { cwd: root, seconds });
  if (ended.code !== 0) throw new Error(`${command} ${args.join(" ")} failed`);
}

/** typedoc names pages by folder, `ir/src`: they become `@mpk/ir`, below the package's own words. */
export function packagePage(name: string, page: string, readme: string): string {
  const body = page.replace(/^# .*\n/, "").replaceAll(/\b(\w+)\.src\.md\b/g, "$1.md");
  const own = readme.replaceAll(/\]\((?!https?:)[^)]*\)/g, "](#)").replaceAll("](#)", "]");
  return `${own.trim().replace(/^# .*$/m, `# @mpk/${name}`)}\n\n${body.trim()}\n`;
}

function renamePages(): void {
  const names = readdirSync(api).flatMap((file) => /^(\w+)\.src\.md$/.exec(file)?.[1] ?? []);
  for (const name of names) {
    const readme = readFileSync(join(root, "packages", name, "README.md"), "utf8");
    const path = join(api, `${name}.src.md`);
    writeFileSync(path, packagePage(name, readFileSync(path, "utf8"), readme));
    renameSync(path, join(api, `${name}.md`));
  }
  const list = names.map((name) => `- [@mpk/${name}](${name}.md)`).join("\n");
  writeFileSync(join(api, "README.md"), `# Packages\n\n${list}\n`);
}

if (import.meta.main) {
  rmSync(api, { recursive: true, force: true });
  await must("typedoc", ["--options", "docs/typedoc.json", "--logLevel", "Error"], 300);
  renamePages();
  const isServing = process.argv.includes("--serve");
  await must("vitepress", [isServing ? "dev" : "build", "docs"], isServing ? null : 300);
}
