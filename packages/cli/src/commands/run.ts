/** @file `mpk run`: streams what a checkpoint generates. */
import { open, type AttentionChoice, type DeviceChoice, type Opened } from "@mpk/compiler";
import { inputError, type GenerateRequest, type Instrument, type Summary } from "@mpk/runtime";
import { Option, type Command } from "commander";
import { numberBetween, seed, tokenIds, wholeFrom } from "../arguments.ts";
import { exitCodes } from "../codes.ts";
import type { Io } from "../io.ts";
import { progressBars, type ProgressBars } from "../progress.ts";
import { attentionOption } from "./shared.ts";

interface Options {
  readonly prompt?: string;
  readonly promptIds?: readonly number[];
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: bigint;
  readonly eos: boolean;
  readonly device: DeviceChoice;
  readonly precision?: "bf16" | "f32";
  readonly maxContext?: number;
  readonly maxTokensPerStep?: number;
  readonly attention?: AttentionChoice;
  readonly sms?: number;
  readonly scheduleSeed?: number;
  readonly instrument?: Instrument;
  readonly watchdogSeconds?: number;
  readonly tuned: boolean;
  readonly logits?: boolean;
  readonly json?: boolean;
}

const examples = `
Examples:
  $ mpk run path/to/checkpoint --prompt "In the beginning"
  $ mpk run path/to/checkpoint --prompt-ids 1,2,3 --max-tokens 20 --json
  $ mpk run path/to/checkpoint --prompt "Once" --temperature 0.8 --top-p 0.95 --seed 7
  $ mpk run path/to/checkpoint --prompt-ids 5 --device emulated --schedule-seed 7
  $ mpk run path/to/checkpoint --prompt-ids 5 --device virtual --precision f32 --logits --json

Ctrl-C ends the generation after the current token, and the exit code is 130.`;

export function runCommand(program: Command, io: Io, setExit: (code: number) => void): void {
  program
    .command("run")
    .description("generate text from a checkpoint, streamed as it comes")
    .argument("<checkpoint>", "folder with config.json and safetensors weights")
    .option("--prompt <text>", "what to continue; needs the checkpoint's tokenizer")
    .option("--prompt-ids <ids>", "what to continue, as token ids: 1,2,3", tokenIds)
    .option("--max-tokens <count>", "tokens to generate at most", wholeFrom(1), 128)
    .option("--temperature <t>", "0 takes the likeliest token", numberBetween(0, Infinity), 0)
    .option("--top-k <k>", "choose among the k likeliest; 0: off", wholeFrom(0), 0)
    .option("--top-p <p>", "choose among the likeliest of this mass; 1: off",
      numberBetween(0, 1), 1)
    .addOption(new Option("--seed <seed>", "of the random choice").argParser(seed)
      .default(0n, "0"))
    .option("--no-eos", "go on past the end-of-text token")
    .addOption(new Option("--device <device>", "where to run: a GPU if there is one, or ...")
      .choices(["auto", "cuda", "emulated", "virtual"]).default("auto"))
    .addOption(new Option("--precision <format>", "of the virtual GPU: as the kernel, or exact")
      .choices(["bf16", "f32"]))
    .addOption(new Option("--instrument <what>", "of the emulated GPU: watch for ...")
      .choices(["none", "races", "memory"]))
    .option("--schedule-seed <seed>", "of the emulated GPU: which thread runs next (0: in order)",
      wholeFrom(0))
    .option("--max-context <tokens>", "longest sequence (default: the model's, at most 4096)",
      wholeFrom(1))
    .option("--max-tokens-per-step <count>", "prompt tokens in one step, 1 to 64 (default 8)", wholeFrom(1))
    .addOption(attentionOption())
    .option("--sms <count>", "SMs to use (default: all; 8 without a GPU)", wholeFrom(1))
    .option("--watchdog-seconds <s>", "end a kernel that waits longer (default: 1.2, more for long contexts)",
      numberBetween(0.001, 3600))
    .option("--no-tuned", "on a GPU: leave out what mpk tune found for it")
    .option("--logits", "with --json: add lastLogits, the row after the last prompt token")
    .option("--json", "print one JSON object at the end")
    .addHelpText("after", examples)
    .action(async (checkpoint: string, options: Options) => {
      setExit(await run(checkpoint, options, io));
    });
}

async function run(checkpoint: string, options: Options, io: Io): Promise<number> {
  checkPrompt(options);
  if (options.logits === true && options.json !== true) {
    throw inputError("--logits has no place in text output", "add --json");
  }
  const bars = progressBars(io);
  const opened = await open(checkpoint, {
    device: options.device,
    tuned: options.tuned,
    onProgress: bars.report,
    onNotice: (notice) => io.stderr.write(`note: ${notice}\n`),
    env: io.env,
    ...(options.precision === undefined ? {} : { precision: options.precision }),
    ...(options.maxContext === undefined ? {} : { maxContext: options.maxContext }),
    ...(options.maxTokensPerStep === undefined ? {} : { maxTokens: options.maxTokensPerStep }),
    ...(options.attention === undefined ? {} : { attention: options.attention }),
    ...(options.sms === undefined ? {} : { sms: options.sms }),
    ...(options.instrument === undefined ? {} : { instrument: options.instrument }),
    ...(options.scheduleSeed === undefined ? {} : { scheduleSeed: options.scheduleSeed }),
    ...(options.watchdogSeconds === undefined
      ? {}
      : { watchdogSeconds: options.watchdogSeconds }),
  }).finally(bars.stop);
  for (const warning of opened.compiled.warnings) io.stderr.write(`warning: ${warning}\n`);
  try {
    const summary = await generate(checkpoint, opened, options, io, bars).finally(bars.stop);
    if (summary.finish === "contextFull" && options.json !== true) {
      const { maxContext } = opened.session.limits;
      io.stderr.write(`the text ends because the context of ${maxContext} tokens is full\n`);
    }
    if (summary.finish !== "stopped") return exitCodes.ok;
    io.stderr.write("interrupted\n");
    return exitCodes.interrupted;
  } finally {
    await opened.close();
  }
}

function checkPrompt(options: Options): void {
  const given = [options.prompt, options.promptIds].filter((each) => each !== undefined).length;
  if (given === 1) return;
  throw inputError(
    given === 0 ? "there is no prompt" : "--prompt and --prompt-ids are both given",
    "give --prompt TEXT or --prompt-ids 1,2,3",
  );
}

function promptIds(checkpoint: string, opened: Opened, options: Options): readonly number[] {
  if (options.promptIds !== undefined) return options.promptIds;
  if (opened.tokenizer === null) {
    throw inputError(
      `${checkpoint}: tokenizer.json is missing, so --prompt cannot be read`,
      "pass --prompt-ids 1,2,3, or add the tokenizer's files",
    );
  }
  return opened.tokenizer.encode(options.prompt ?? "");
}

async function generate(
  checkpoint: string,
  opened: Opened,
  options: Options,
  io: Io,
  bars: ProgressBars,
): Promise<Summary> {
  const { session, tokenizer } = opened;
  const { temperature, topK, topP, seed, maxTokens } = options;
  const request: GenerateRequest = {
    promptIds: promptIds(checkpoint, opened, options),
    maxTokens,
    sampling: { temperature, topK, topP, seed },
    logits: options.logits === true ? "lastPrompt" : "none",
    signal: io.interruptible(),
    ...(options.eos ? {} : { eosIds: [] }),
  };
  const generation = session.generate(request);
  const stream = tokenizer?.stream();
  const live = options.json !== true;
  const tokens: number[] = [];
  let text = "";
  const emit = (piece: string) => {
    text += piece;
    if (live) io.stdout.write(piece);
  };
  for await (const id of generation) {
    tokens.push(id);
    if (!live) bars.report({ stage: "generate", done: tokens.length, total: maxTokens });
    emit(stream === undefined ? `${tokens.length > 1 ? " " : ""}${id}` : stream.push(id));
  }
  emit(stream?.end() ?? "");
  const summary = generation.summary();
  if (live) io.stdout.write("\n");
  else io.stdout.write(`${JSON.stringify(result(opened, request, tokens, text, summary))}\n`);
  return summary;
}

function result(
  opened: Opened,
  request: GenerateRequest,
  tokens: readonly number[],
  text: string,
  summary: Summary,
): object {
  const [lastLogits] = summary.logits;
  return {
    tokens,
    ...(opened.tokenizer === null ? {} : { text }),
    device: opened.session.device.kind,
    deviceName: opened.session.device.name,
    finish: summary.finish,
    promptIds: request.promptIds,
    millis: summary.millis,
    ...(lastLogits === undefined ? {} : { lastLogits: [...lastLogits] }),
  };
}
