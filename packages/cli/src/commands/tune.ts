/** @file `mpk tune`: searches the planner's knobs on the GPU at hand and keeps the best. */
import {
  choiceText, measuredModel, open, requireGpu, tune, tunedPath, writeTuned, type Choice,
  type Compiled, type TuneResult,
} from "@mpk/compiler";
import { inputError } from "@mpk/runtime";
import type { Command } from "commander";
import { numberBetween, wholeFrom } from "../arguments.ts";
import { exitCodes } from "../codes.ts";
import type { Io } from "../io.ts";

interface Options {
  readonly minutes: number;
  readonly context: number;
  readonly tokens: number;
  readonly maxTokensPerStep?: number;
  readonly json?: boolean;
}

const examples = `
Examples:
  $ mpk tune path/to/checkpoint
  $ mpk tune qwen3-8b --minutes 30
  $ mpk tune config.json --context 256 --json

Only plans that keep all laws are tried, and only choices that give the default's tokens can win.
What is found lies beside the cached kernels, by model and GPU; run, bench and profile take it from
there, and say so. --no-tuned leaves it out. Ctrl-C ends the search with the best so far, kept too.`;

export function tuneCommand(program: Command, io: Io, setExit: (code: number) => void): void {
  program
    .command("tune")
    .description("search for the fastest plan of a model on the GPU at hand, and keep it")
    .argument("<model>", "checkpoint folder, config.json, or a shape by name")
    .option("--minutes <count>", "time the search may take", numberBetween(0.01, 10_000), 10)
    .option("--context <tokens>", "prompt tokens before the timed ones", wholeFrom(1), 64)
    .option("--tokens <count>", "timed tokens of a launch", wholeFrom(2), 128)
    .option("--max-tokens-per-step <count>", "prompt tokens in one step (default 8)", wholeFrom(1))
    .option("--json", "print one JSON object")
    .addHelpText("after", examples)
    .action(async (name: string, options: Options) => setExit(await run(name, options, io)));
}

async function run(name: string, options: Options, io: Io): Promise<number> {
  const model = measuredModel(name);
  await requireGpu(io.env);
  const { context, tokens, minutes, maxTokensPerStep: maxTokens } = options;
  const limits = {
    maxContext: context + tokens + 1, ...(maxTokens === undefined ? {} : { maxTokens }),
  };
  let first: Compiled | undefined;
  const signal = io.interruptible();
  const result = await tune({
    minutes, context, tokens, signal, now: () => performance.now(),
    async open(choice: Choice) {
      const { session, compiled, close } = await open(model.source(limits), {
        ...limits, device: "cuda", measure: true, randomSeed: 1n, plan: choice, tuned: false,
        env: io.env,
      });
      first ??= compiled;
      return { session, close, promptChunk: compiled.plan.program.limits.maxTokens };
    },
    onTrial({ candidate, outcome, effort }, left, minutesLeft) {
      const told = "refused" in outcome
        ? `refused: ${outcome.refused}`
        : `${outcome.ms.toFixed(4)} ms`;
      const rest = `${left} left in this round, ${minutesLeft.toFixed(1)} min`;
      io.stderr.write(`${choiceText(candidate)}: ${told} (${effort} launches; ${rest})\n`);
    },
  });
  if (first === undefined) throw inputError("nothing was tuned", "give the search more minutes");
  tell(result, keep(first, result, io), model.title, options, io);
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
  const { best, ms, defaultMs, trials, outOfTime } = result;
  if (json === true) {
    const all = { model: title, best, ms, defaultMs, trials, outOfTime, path };
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
