/** @file `mpk bench`: times models on the GPU at hand, and draws what was measured. */
import {
  benchModel, chartOf, diagnose, isMeasured, markdownTable, measuredModel, readBenchFile,
  replacePart, requireGpu, resultText, type BenchFile, type BenchResult,
} from "@mpk/compiler";
import { inputError, messageOf, readBounded } from "@mpk/runtime";
import { Option, type Command } from "commander";
import { execFileSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { numbers, seed, wholeFrom } from "../arguments.ts";
import { exitCodes } from "../codes.ts";
import { writeNamed, type Io } from "../io.ts";
import { progressBars } from "../progress.ts";

interface Options {
  readonly shapes: readonly string[];
  readonly context: readonly number[];
  readonly tokensPerStep: readonly number[];
  readonly tokens: number;
  readonly reruns: number;
  readonly seed: bigint;
  readonly baseline?: "torch";
  readonly readContext?: boolean;
  readonly tuned: boolean;
  readonly json?: boolean;
  readonly out?: string;
  readonly chart?: string;
  readonly page?: string;
}

const examples = `
Examples:
  $ mpk bench path/to/checkpoint
  $ mpk bench --shapes qwen3-8b,llama-3.2-1b --baseline torch --out results.json
  $ mpk bench config.json --context 64,4096,16384 --tokens-per-step 1,8
  $ mpk bench results.json --chart chart.svg              draw what was measured before
  $ mpk bench docs/performance.results.json --chart docs/performance.svg \\
      --page docs/performance.md                          the page of this repository

A config.json, or a shape by name, gets random weights, made on the GPU. Exits with 1 where a rerun
gave other tokens or the fidelity gate failed, with 3 where there is no GPU.`;

const split = (text: string): readonly string[] => text.split(",").filter((each) => each !== "");

export function benchCommand(program: Command, io: Io, setExit: (code: number) => void): void {
  program
    .command("bench")
    .description("time decoding on the GPU at hand, against memory's limit and against PyTorch")
    .argument("[models...]", "checkpoint folders, config.json files, shapes, or results to draw")
    .option("--shapes <names>", "public shapes by name, with random weights", split, [])
    .option("--context <tokens>", "tokens before the first measured one", numbers(0), [64])
    .option("--read-context", "read contexts beyond 512 too, in place of random cache rows")
    .option("--tokens-per-step <counts>", "1: decoding; more: prompt steps", numbers(1), [1])
    .option("--tokens <count>", "measured tokens of one launch", wholeFrom(2), 128)
    .option("--reruns <count>", "launches that count, compared token by token", wholeFrom(1), 20)
    .addOption(new Option("--seed <seed>", "of random weights").argParser(seed).default(1n, "1"))
    .addOption(new Option("--baseline <name>", "time it too, and hold our logits to it")
      .choices(["torch"]))
    .option("--no-tuned", "leave out what mpk tune found")
    .option("--json", "print one JSON object")
    .option("--out <file>", "write the results as JSON")
    .option("--chart <file>", "draw the results as SVG")
    .option("--page <file>", "write the results' table between the page's markers")
    .addHelpText("after", examples)
    .action(async (models: readonly string[], options: Options) => {
      setExit(await bench([...models, ...options.shapes], options, io));
    });
}

/** Bytes of a results file or a page. */
const mostBytes = 64 * 2 ** 20;
const readText = (path: string): string => new TextDecoder().decode(readBounded(path, mostBytes));

const isResults = (path: string): boolean =>
  existsSync(path) && statSync(path).isFile() &&
  /^\s*\{\s*"format"\s*:\s*"mpk-bench"/.test(readText(path).slice(0, 200));

async function bench(names: readonly string[], options: Options, io: Io): Promise<number> {
  if (names.length === 0) throw inputError("nothing to bench", "name a checkpoint or --shapes");
  const stored = names.filter(isResults);
  const models = names.filter((name) => !stored.includes(name));
  if (stored.length > 0 && models.length > 0) {
    throw inputError(
      `${stored[0]} holds results, ${models[0]} is to be measured`, "do one after the other",
    );
  }
  const file = models.length > 0 ? await measure(models, options, io) : merge(stored);
  write(file, options, io, models.length > 0);
  const failed = file.results.filter((result) => !passed(result));
  for (const { model } of failed) {
    io.stderr.write(`${model}: other tokens, or logits out of bounds\n`);
  }
  return models.length > 0 && failed.length > 0 ? exitCodes.failed : exitCodes.ok;
}

const passed = ({ reruns, rerunsEqual, fidelity }: BenchResult): boolean =>
  reruns === rerunsEqual && (!isMeasured(fidelity) || fidelity.passed);

function merge(paths: readonly string[]): BenchFile {
  const [first, ...others] = paths.map((path) => readBenchFile(path, readText(path)));
  if (first === undefined) throw inputError("nothing to draw", "name a results file");
  const other = others.find(({ machine }) => machine !== first.machine);
  if (other !== undefined) {
    throw inputError(
      `results of ${first.machine} and of ${other.machine} do not belong in one picture`,
      "draw them apart",
    );
  }
  return { ...first, results: [first, ...others].flatMap(({ results }) => results) };
}

async function measure(
  names: readonly string[],
  options: Options,
  io: Io,
): Promise<BenchFile> {
  // What can be wrong with any of them is told before the first is measured.
  const models = names.map(measuredModel);
  await requireGpu(io.env);
  const { devices, checks } = await diagnose(io.env);
  const bars = progressBars(io);
  const results: BenchResult[] = [];
  for (const model of models) {
    const done = await benchModel(model, {
      contexts: options.context, tokensPerStep: options.tokensPerStep, tokens: options.tokens,
      readContext: options.readContext ?? false, reruns: options.reruns, seed: options.seed,
      wantsTorch: options.baseline === "torch",
      env: io.env,
      open: { tuned: options.tuned, onNotice: (notice) => io.stderr.write(`note: ${notice}\n`) },
      onProgress: bars.report,
      onStage: (what) => {
        bars.stop();
        io.stderr.write(`${what}\n`);
      },
      onResult: (result) => {
        bars.stop();
        if (options.json !== true) io.stdout.write(`${resultText(result)}\n`);
      },
    }).finally(bars.stop);
    results.push(...done);
  }
  const [device] = devices;
  const driver = checks.find(({ name }) => name === "driver")?.detail ?? "unknown driver";
  return {
    format: "mpk-bench", version: 1,
    machine: `${device?.name ?? "unknown GPU"} (${device?.sms ?? 0} SMs, ${driver})`,
    commit: commitHere(),
    command: `mpk bench ${process.argv.slice(3).join(" ")}`,
    results,
  };
}

/** Of the repository that this file is in, where it is in one. */
function commitHere(): string | null {
  try {
    return execFileSync("git", ["describe", "--always", "--dirty"], {
      cwd: import.meta.dirname, stdio: ["ignore", "pipe", "ignore"], encoding: "utf8",
    }).trim();
  } catch {
    return null;
  }
}

function write(file: BenchFile, options: Options, io: Io, isNew: boolean): void {
  const { out, chart, page } = options;
  if (options.json === true) io.stdout.write(`${JSON.stringify(file)}\n`);
  else if (!isNew && chart === undefined && page === undefined) {
    for (const result of file.results) io.stdout.write(`${resultText(result)}\n`);
  }
  if (out !== undefined) save(out, `${JSON.stringify(file, null, 1)}\n`, io);
  if (chart !== undefined) {
    save(chart, chartOf(`Time per step on one ${file.machine.split(" (")[0]}`, file.results), io);
  }
  if (page !== undefined) save(page, newPage(page, file), io);
}

function newPage(path: string, file: BenchFile): string {
  try {
    return replacePart(readText(path), "results", markdownTable(file));
  } catch (error) {
    throw inputError(`${path}: ${messageOf(error)}`, "name a page with the markers", error);
  }
}

function save(path: string, text: string, io: Io): void {
  writeNamed(path, text);
  io.stderr.write(`wrote ${path}\n`);
}
