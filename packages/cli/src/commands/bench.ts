/** @file `mpk bench`: times models on the GPU at hand, and draws what was measured. */
import {
  chartOf, differenceOf, isMeasured, resultsPart, measuredModel, originOf, readBenchFile,
  replacePart, resultText, suite, suiteNames, withResult, type BenchFile, type BenchResult, type BenchSetting,
} from "@mpk/compiler";
import { inputError, messageOf, readBounded } from "@mpk/runtime";
import { Option, type Command } from "commander";
import { existsSync, statSync } from "node:fs";
import { numberBetween, numbers, seed, wholeFrom } from "../arguments.ts";
import { exitCodes } from "../codes.ts";
import { writeNamed, type Io } from "../io.ts";
import { measure, settingsOf, type MeasureOptions } from "./bench-measure.ts";
import { attentionOption } from "./shared.ts";

interface Options extends MeasureOptions {
  readonly shapes: readonly string[];
  readonly suite?: string;
  readonly json?: boolean;
  readonly chart?: string;
  readonly page?: string;
  readonly mix?: boolean;
}

const examples = `
Examples:
  $ mpk bench path/to/checkpoint
  $ mpk bench --shapes qwen3-8b,llama-3.2-1b --baseline torch --out results.json
  $ mpk bench config.json --context 64,4096,16384 --tokens-per-step 1,8
  $ mpk bench --suite page --out results.json --resume --minutes 9
  $ mpk bench results.json --chart chart.svg              draw what was measured before
  $ mpk bench docs/performance.results.json --chart docs/performance.svg \\
      --page docs/performance.md                          the page of this repository

A config.json, or a shape by name, gets random weights, made on the GPU. Each result is in --out as
soon as it is measured, in a process of its own; a setting that fails ends no other. --resume goes on
with a file of the same machine and sources. Exits with 1 where a setting failed or was left for want
of time, a rerun gave other tokens, or the fidelity gate failed; with 3 where there is no GPU.`;

const split = (text: string): readonly string[] => text.split(",").filter((each) => each !== "");

export function benchCommand(program: Command, io: Io, setExit: (code: number) => void): void {
  program
    .command("bench")
    .description("time decoding on the GPU at hand, against memory's limit and against PyTorch")
    .argument("[models...]", "checkpoint folders, config.json files, shapes, or results to draw")
    .option("--shapes <names>", "public shapes by name, with random weights", split, [])
    .addOption(new Option("--suite <name>", "what docs/performance.md holds, or a part of it")
      .choices(suiteNames))
    .option("--context <tokens>", "tokens before the first measured one", numbers(0), [64])
    .addOption(new Option("--reads <how>", "how the context comes into the cache: read by each launch, " +
      "by the first, or rows made at random (default: each up to 512 tokens, random beyond)")
      .choices(["each", "once", "random"]))
    .option("--tokens-per-step <counts>", "1: decoding; more: prompt steps", numbers(1), [1])
    .option("--tokens <count>", "measured tokens of one launch", wholeFrom(2), 128)
    .option("--long-tokens <count>", "tokens of one longer launch beside them", wholeFrom(0), 0)
    .option("--reruns <count>", "launches that count, compared token by token", wholeFrom(1), 20)
    .option("--max-tokens-per-step <count>", "prompt tokens that a decoding kernel takes in one step",
      wholeFrom(1))
    .addOption(attentionOption())
    .addOption(new Option("--seed <seed>", "of random weights").argParser(seed).default(1n, "1"))
    .addOption(new Option("--baseline <name>", "time it too, and hold our logits to it")
      .choices(["torch"]))
    .option("--no-tuned", "leave out what mpk tune found")
    .option("--json", "print one JSON object")
    .option("--out <file>", "keep the results as JSON, each as soon as it is there")
    .option("--resume", "leave out what --out holds already")
    .option("--minutes <count>", "begin nothing that may take longer", numberBetween(0.01, 10_000))
    .option("--commit <id>", "what is measured, where there is no git to ask")
    .option("--mix", "put results of different sources into one file")
    .option("--dry-run", "say what would be measured")
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
  if (names.length === 0 && options.suite === undefined) {
    throw inputError("nothing to bench", "name a checkpoint, --shapes or --suite");
  }
  const stored = names.filter(isResults);
  const models = names.filter((name) => !stored.includes(name));
  const settings = [
    ...(options.suite === undefined ? [] : suite(options.suite)), ...settingsOf(models, options),
  ];
  if (stored.length > 0 && settings.length > 0) {
    throw inputError(
      `${stored[0]} holds results, ${settings[0]?.model} is to be measured`, "do one after the other",
    );
  }
  if (stored.length > 0) {
    write(merge(stored, options.mix === true, io), options, io, false);
    return exitCodes.ok;
  }
  return measureAndTell(settings, options, io);
}

async function measureAndTell(
  settings: readonly BenchSetting[],
  options: Options,
  io: Io,
): Promise<number> {
  const { out, resume } = options;
  if (resume === true && out === undefined) throw inputError("--resume of no file", "add --out");
  // What can be wrong with any of them is told before the first is measured.
  for (const { model } of settings) measuredModel(model);
  if (options.dryRun === true) {
    for (const setting of settings) io.stdout.write(`${settingLine(setting)}\n`);
    return exitCodes.ok;
  }
  const known = resume === true && out !== undefined && existsSync(out)
    ? readBenchFile(out, readText(out), { mayBeEmpty: true })
    : null;
  const { file, left } = await measure(settings, known, options, io);
  if (file.results.length > 0) write(file, { ...options, out: undefined }, io, true);
  const failed = file.results.filter((result) => !passed(result));
  for (const { model, context } of failed) {
    io.stderr.write(`${model}, context ${context}: other tokens, or logits out of bounds\n`);
  }
  for (const { model, error } of file.failures ?? []) io.stderr.write(`${model} failed: ${error}\n`);
  if (left > 0) {
    io.stderr.write(`${left} of ${settings.length} settings are not finished: --resume goes on\n`);
  }
  const good = failed.length === 0 && (file.failures ?? []).length === 0 && left === 0;
  return good ? exitCodes.ok : exitCodes.failed;
}

function settingLine(setting: BenchSetting): string {
  const { model, context, tokensPerStep, tokens, reruns, longTokens, reads, promptChunk } = setting;
  const { attention, wantsTorch, wantsFidelity } = setting;
  const how = { each: "read by each launch", once: "read by the first", random: "random rows" };
  const parts = [
    `context ${context} (${tokensPerStep === 1 ? how[reads] : how.random})`,
    tokensPerStep === 1 ? `${tokens} tokens` : `steps of ${tokensPerStep} tokens`, `${reruns} reruns`,
    ...(longTokens === 0 ? [] : [`one launch of ${longTokens}`]),
    ...(promptChunk === null ? [] : [`prompt steps of ${promptChunk}`]),
    ...(attention === null ? [] : [`attention ${attention}`]),
    ...(wantsFidelity ? ["fidelity"] : []), ...(wantsTorch ? ["PyTorch"] : []),
  ];
  return `${model}: ${parts.join(", ")}`;
}

const passed = ({ reruns, rerunsEqual, logitReruns, fidelity }: BenchResult): boolean =>
  reruns === rerunsEqual && logitReruns?.launches === logitReruns?.equal &&
  (!isMeasured(fidelity) || fidelity.passed);

/** Files of one machine, a later file's result in place of an earlier one's; each knows its origin. */
function merge(paths: readonly string[], mix: boolean, io: Io): BenchFile {
  const files = paths.map((path) => readBenchFile(path, readText(path)));
  const [first, ...others] = files;
  if (first === undefined) throw inputError("nothing to draw", "name a results file");
  if (others.length === 0) return first;
  const results = files.flatMap((file) =>
    file.results.map((result) => ({ ...result, origin: originOf(file, result) })));
  // Another machine is the graver difference, wherever it is.
  const differs = (fields: Parameters<typeof differenceOf>[2]): string | undefined =>
    results.flatMap(({ origin }) => differenceOf(results[0]?.origin ?? origin, origin, fields) ?? []).at(0);
  const machine = differs(["machine"]);
  if (machine !== undefined) {
    throw inputError(`results of ${machine} do not belong in one picture`, "draw them apart");
  }
  const code = differs(["commit", "sources"]);
  if (code !== undefined && !mix) {
    throw inputError(`results of ${code} are not the same program's`, "draw them apart, or add --mix");
  }
  const merged = results.reduce(withResult, { ...first, results: [], failures: [] });
  const replaced = results.length - merged.results.length;
  if (replaced > 0) io.stderr.write(`${replaced} results were measured again: the later file's count\n`);
  return merged;
}

function write(file: BenchFile, options: Omit<Options, "out"> & { readonly out?: string | undefined },
  io: Io, isNew: boolean): void {
  const { out, chart, page } = options;
  if (options.json === true) io.stdout.write(`${JSON.stringify(file)}\n`);
  else if (!isNew && chart === undefined && page === undefined && out === undefined) {
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
    return replacePart(readText(path), "results", resultsPart(file));
  } catch (error) {
    throw inputError(`${path}: ${messageOf(error)}`, "name a page with the markers", error);
  }
}

function save(path: string, text: string, io: Io): void {
  writeNamed(path, text);
  io.stderr.write(`wrote ${path}\n`);
}
