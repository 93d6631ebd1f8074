/** @file `mpk compile`: writes the kernel, its Manifest, header and launcher; prints the report. */
import { buildForReport, compileFiles, savePlan, type Compiled } from "@mpk/compiler";
import { inputError, makeFolder, messageOf, writeAtomic } from "@mpk/runtime";
import type { Command } from "commander";
import { join } from "node:path";
import type { Io } from "../io.ts";
import { reportText } from "../text.ts";
import { compileWith, withShape, type ShapeOptions } from "./shared.ts";

interface Options extends ShapeOptions {
  readonly out: string;
  readonly savePlan?: string;
  readonly build?: boolean;
  readonly json?: boolean;
}

const examples = `
Examples:
  $ mpk compile path/to/checkpoint --out build
  $ mpk compile qwen3-8b --out build                 no weights are needed
  $ mpk compile config.json --target sm_80 --sms 108 --out build
  $ mpk compile model.ts --out build --save-plan plan.json
  $ mpk compile config.json --out build --build      also build it: registers, spills`;

export function compileCommand(program: Command, io: Io): void {
  const command = program
    .command("compile")
    .description("compile a model to kernel.cu, manifest.json, a C header and a launcher")
    .argument("<model>", "checkpoint folder, config.json, model.ts or a shape by name")
    .requiredOption("--out <folder>", "where to write the files")
    .option("--save-plan <file>", "also save the plan, for `mpk verify` and `mpk inspect`")
    .option("--build", "also build the kernel with nvcc: registers and spills")
    .option("--json", "print one JSON object")
    .addHelpText("after", examples);
  withShape(command).action(async (source: string, options: Options) => {
    const compiled = await compileWith(source, options, io);
    const written = writeAll(compiled, options);
    const built = options.build === true ? await buildForReport(compiled, io.env) : null;
    if (options.json === true) {
      const all = { ...compiled.report, built, files: written };
      io.stdout.write(`${JSON.stringify(all, null, 2)}\n`);
      return;
    }
    io.stdout.write(reportText(compiled.report));
    if (built !== null) {
      io.stdout.write(`  built by ${built.compiler}: ${built.registers} registers per thread, ` +
        `${built.spillBytes} bytes spilled, ${(built.millis / 1000).toFixed(1)} s\n`);
    }
    for (const file of written) io.stdout.write(`wrote ${file}\n`);
  });
}

function writeAll(compiled: Compiled, options: Options): readonly string[] {
  const files = Object.entries(compileFiles(compiled)).map(
    ([name, text]) => [join(options.out, name), text] as const,
  );
  if (options.savePlan !== undefined) files.push([options.savePlan, savePlan(compiled.plan)]);
  try {
    makeFolder(options.out);
    for (const [path, text] of files) writeAtomic(path, text);
  } catch (error) {
    throw inputError(`cannot write: ${messageOf(error)}`, "name a folder you may write to", error);
  }
  return files.map(([path]) => path);
}
