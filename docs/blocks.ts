/**
 * @file Runs a page's code blocks as its reader would, in order: `ts` blocks are one program, those
 * with a file name in their first line are files beside it, `sh` blocks are commands. A `text` block
 * is the exact output of the `ts` block before it. Blocks of other languages are only shown.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import ts from "typescript";

export interface Block {
  readonly language: string;
  /** `// file: NAME` in the block's first line, or null. */
  readonly file: string | null;
  readonly text: string;
  /** Of its first line in the page. */
  readonly line: number;
}

/** What one `ts` block printed, and what the page says it prints. */
export interface Output {
  readonly line: number;
  readonly printed: string;
  readonly shown: string;
}

const root = join(import.meta.dirname, "..");
const node = ["--conditions=@mpk/source", "--disable-warning=ExperimentalWarning"];

/** The fenced blocks of a page. */
export function blocksOf(page: string): readonly Block[] {
  return [...page.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map((match) => ({
    language: match[1] ?? "",
    file: /^\/\/ file: (\S+)\n/.exec(match[2] ?? "")?.[1] ?? null,
    text: match[2] ?? "",
    line: page.slice(0, match.index).split("\n").length + 1,
  }));
}

const marker = (line: number): string => `=== block at line ${line}`;

/**
 * Typechecks and runs a page's program.
 * @param path of the page; its files go to out/docs/NAME
 * Throws with the compiler's or the program's message.
 */
export function runPage(path: string): readonly Output[] {
  const folder = join(root, "out", "docs", basename(path, ".md"));
  const blocks = blocksOf(readFileSync(path, "utf8"));
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  // Commands name files of the repository as its root sees them.
  symlinkSync(join(root, "examples"), join(folder, "examples"));
  const code = blocks.filter(({ language }) => language === "ts");
  for (const { file, text } of code) {
    if (file === null) continue;
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text);
  }
  const main = code.filter(({ file }) => file === null);
  const parts = main.map(({ line, text }) => `console.log("${marker(line)}");\n${text}`);
  writeFileSync(join(folder, "main.ts"), parts.join("\n"));
  typecheck([...code.flatMap(({ file }) => (file === null ? [] : [file])), "main.ts"], folder);

  const printed = run(process.execPath, [...node, "main.ts"], folder);
  const outputs = main.map(({ line }): Output => {
    const after = printed.split(`${marker(line)}\n`)[1] ?? "";
    const next = blocks[blocks.findIndex((block) => block.line === line) + 1];
    const shown = next?.language === "text" ? next.text : "";
    return { line, printed: after.split("=== block at line")[0] ?? "", shown };
  });
  for (const block of blocks) if (block.language === "sh") runCommands(block, folder);
  return outputs;
}

function typecheck(files: readonly string[], folder: string): void {
  const config = ts.readConfigFile(join(root, "tsconfig.json"), (name) => ts.sys.readFile(name));
  const { options } = ts.convertCompilerOptionsFromJson(config.config.compilerOptions, root);
  const program = ts.createProgram(files.map((file) => join(folder, file)), options);
  const found = ts.getPreEmitDiagnostics(program);
  const host = {
    getCanonicalFileName: (name: string): string => name,
    getCurrentDirectory: (): string => folder,
    getNewLine: (): string => "\n",
  };
  if (found.length > 0) throw new Error(`does not typecheck\n${ts.formatDiagnostics(found, host)}`);
}

/** Each line is `npx -y pnpm@12 mpk …`: the command line, without installing it again. */
function runCommands(block: Block, folder: string): void {
  for (const command of block.text.split("\n").filter((line) => line !== "")) {
    const args = /^npx -y pnpm@12 mpk (.*)$/.exec(command)?.[1];
    if (args === undefined) throw new Error(`line ${block.line}: cannot run ${command}`);
    const cli = join(root, "packages", "cli", "src", "main.ts");
    run("sh", ["-c", `"${process.execPath}" ${node.join(" ")} "${cli}" ${args}`], folder);
  }
}

function run(command: string, args: readonly string[], cwd: string): string {
  const done = spawnSync(command, args, { cwd, encoding: "utf8" });
  if (done.status === 0) return done.stdout;
  throw new Error(`${[command, ...args].join(" ")} failed\n${done.stdout}\n${done.stderr}`);
}

/** `node docs/blocks.ts PAGE` writes into a page's `text` blocks what its program prints. */
function update(path: string): void {
  let page = readFileSync(path, "utf8");
  for (const { line, printed } of [...runPage(path)].reverse()) {
    const at = page.split("\n").slice(0, line - 1).join("\n").length;
    const end = page.indexOf("\n```\n", at + 1) + "\n```\n".length;
    const old = /^\n*```text\n[\s\S]*?^```\n/m.exec(page.slice(end));
    const rest = old?.index === 0 ? page.slice(end + old[0].length) : page.slice(end);
    const shown = printed === "" ? "" : `\`\`\`text\n${printed}\`\`\`\n`;
    page = page.slice(0, end) + shown + rest;
  }
  writeFileSync(path, page);
}

if (import.meta.main) for (const page of process.argv.slice(2)) update(page);
