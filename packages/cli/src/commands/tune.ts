/** @file `mpk tune`: searches the planner's knobs on the GPU at hand and keeps the best. */
import {
  buildApart, choiceText, measuredModel, open, requireGpu, settingOf, tune, tunedPath, writeTuned,
  type AttentionChoice, type Choice, type Compiled, type TuneResult,
} from "@mpk/compiler";
import { inputError } from "@mpk/runtime";
import type { Command } from "commander";
import { numberBetween, wholeFrom } from "../arguments.ts";
import { exitCodes } from "../codes.ts";
import type { Io } from "../io.ts";
import { attentionOption } from "./shared.ts";

interface Options {
  readonly minutes: number;
  readonly budget?: number;
  readonly context: number;
  readonly tokens: number;
  readonly maxTokensPerStep?: number;
  readonly attention?: AttentionChoice;
  readonly json?: boolean;
}

const examples = `
Examples:
  $ mpk tune path/to/checkpoint
  $ mpk tune qwen3-8b --minutes 30
  $ mpk tune llama-3.2-1b --budget 60
  $ mpk tune config.json --context 256 --json

Only plans that keep all laws are tried, their kernels built at once on all processors, and only choices
that give the default's tokens can win, or others where its two best logits are as near as the errors.
What is found lies beside the cached kernels, by model and GPU; run, bench and profile take it from
there, and say so. --no-tuned leaves it out. Ctrl-C ends the search with the best so far, kept too.`;

export function tuneCommand(program: Command, io: Io, setExit: (code: number) => void): void {
  program
    .command("tune")
    .description("search for the fastest plan of a model on the GPU at hand, and keep it")
    .argument("<model>", "checkpoint folder, config.json, or a shape by name")
    .option("--minutes <count>", "time the search may take", numberBetween(0.01, 10_000), 10)
    .option("--budget <seconds>", "the same in seconds", numberBetween(1, 600_000))
    .option("--context <tokens>", "prompt tokens before the timed ones", wholeFrom(1), 64)
    .option("--tokens <count>", "timed tokens of a launch", wholeFrom(2), 128)
    .option("--max-tokens-per-step <count>", "prompt tokens in one step (default 8)", wholeFrom(1))
    .addOption(attentionOption())
    .option("--json", "print one JSON object")
    .addHelpText("after", examples)
    .action(async (name: string, options: Options) => setExit(await run(name, options, io)));
}

/** A kernel that waits longer is out of the search. */
const watchdogSeconds = 2;

async function run(name: string, options: Options, io: Io): Promise<number> {
  const model = measuredModel(name);
  await requireGpu(io.env);
  const { context, tokens, maxTokensPerStep: maxTokens } = options;
  const minutes = options.budget === undefined ? options.minutes : options.budget / 60;
  const limits = {
    maxContext: context + tokens + 1, ...(maxTokens === undefined ? {} : { maxTokens }),
  };
  const setting = settingOf({
    model: name, context, tokens, tuned: false, promptChunk: maxTokens ?? null,
    attention: options.attention ?? null,
  });
  // Each choice is compiled once, however often it is opened.
  const known = new Map<string, Compiled>();
  let first: Compiled | undefined;
  const signal = io.interruptible();
  const result = await tune({
    minutes, context, tokens, signal, now: () => performance.now(),
    async prepare(choices, mostSeconds) {
      io.stderr.write(`building ${choices.length} kernels, at most ${mostSeconds.toFixed(0)} s\n`);
      const builds = choices.map((plan) => ({ setting, plan }));
      const built = await buildApart(builds, { env: io.env, mostSeconds });
      return choices.filter((_, i) => built[i]);
    },
    async open(choice: Choice) {
      const compiled = known.get(choiceText(choice));
      const opened = await open(model.source(limits), {
        ...limits, device: "cuda", measure: true, randomSeed: 1n, plan: choice, tuned: false,
        watchdogSeconds, env: io.env, ...(compiled === undefined ? {} : { compiled }),
        ...(options.attention === undefined ? {} : { attention: options.attention }),
      });
      first ??= opened.compiled;
      known.set(choiceText(choice), opened.compiled);
      const { session, close } = opened;
      return { session, close, promptChunk: opened.compiled.plan.program.limits.maxTokens };
    },
    onTrial({ candidate, outcome, effort }, left, minutesLeft) {
      const told = "refused" in outcome
        ? `refused: ${outcome.refused}`
        : `${outcome.ms.toFixed(4)} ms`;
      const time = minutesLeft < 2 ? `${(minutesLeft * 60).toFixed(0)} s` : `${minutesLeft.toFixed(1)} min`;
      const rest = `${left} left in this round, ${time}`;
      io.stderr.write(`${choiceText(candidate)}: ${told} (${effort} launches; ${rest})\n`);
    },
  });
  if (first === undefined) throw inputError("nothing was tuned", "give the search more minutes");
  tell(result, keep(first, result, io), model.title, options, io);
  if (result.fault !== null) {
    io.stderr.write(`the search ended early, a kernel faulted: ${result.fault}\n`);
    return exitCodes.failed;
  }
  return signal.aborted ? exitCodes.interrupted : exitCodes.ok;
}

/** Stores the result; the path, or null where it could not be. */
function keep({ plan }: Compiled, { best, ms, defaultMs }: TuneResult, io: Io): string | null {
  const { program, machine } = plan;
  const { notice } = writeTuned(program, machine, { choice: best, ms, defaultMs }, io.env);
  if (notice === null) return tunedPath(program, machine, io.env);
  io.stderr.write(`note: ${notice}\n`);
  return null;
}

function tell(
  result: TuneResult,
  path: string | null,
  title: string,
  { json }: Options,
  io: Io,
): void {
  const { best, ms, defaultMs, trials, outOfTime, fault } = result;
  if (json === true) {
    const all = { model: title, best, ms, defaultMs, trials, outOfTime, fault, path };
    io.stdout.write(`${JSON.stringify(all)}\n`);
    return;
  }
  const gain = ((1 - ms / defaultMs) * 100).toFixed(1);
  const tried = `${trials.length} trials${outOfTime ? ", cut off by time" : ""}`;
  io.stdout.write(
    `${title}: ${choiceText(best)}, ${ms.toFixed(4)} ms per token; the defaults ` +
      `${defaultMs.toFixed(4)} ms (${gain} % less); ${tried}\n` +
      (path === null ? "" : `kept in ${path}\n`),
  );
}
