/** @file `mpk soak`: a million tokens of random prompts, in parts, watched for anything that changes. */
import {
  compareSamples, contextUpTo, measuredModel, mostError, mostGrowth, newState, open, readSoakState, soakPart,
  type DeviceChoice, type Opened, type SoakState,
} from "@mpk/compiler";
import { inputError } from "@mpk/runtime";
import { Option, type Command } from "commander";
import { existsSync } from "node:fs";
import { numberBetween, wholeFrom } from "../arguments.ts";
import { exitCodes } from "../codes.ts";
import { writeNamed, type Io } from "../io.ts";
import { progressBars } from "../progress.ts";
import { bytes, columns, count } from "../text.ts";

interface Options {
  readonly tokens: number;
  readonly minutes: number;
  readonly every: number;
  readonly seed: number;
  readonly state?: string;
  readonly check?: boolean;
  readonly device: DeviceChoice;
  readonly maxContext?: number;
  readonly sms?: number;
  readonly json?: boolean;
}

const examples = `
Examples:
  $ mpk soak path/to/checkpoint --state soak.json                    one part of 8 minutes
  $ mpk soak path/to/checkpoint --state soak.json                    the next part goes on
  $ mpk soak path/to/checkpoint --state soak.json --check            on any machine, without a GPU
  $ mpk soak qwen3-0.6b --tokens 100000 --state shape.json           a shape, with random weights

Prompts, lengths, sampling and ends are drawn by the seed; some generations are aborted, some are left.
Every so many tokens, a token's logits are held to those of the same tokens read as a prompt; one fixed
request must give the same logits in all parts, and memory must not grow. --check holds the kept logits
to the virtual GPU in float32. Exits with 1 where anything was not as it must be.`;

export function soakCommand(program: Command, io: Io, setExit: (code: number) => void): void {
  program
    .command("soak")
    .description("generate for long, from random prompts, and see that nothing changes or grows")
    .argument("<model>", "checkpoint folder, config.json or shape")
    .option("--tokens <count>", "tokens of all parts together", wholeFrom(1), 1_000_000)
    .option("--minutes <m>", "of this part", numberBetween(0, 10_000), 8)
    .option("--every <count>", "check the logits of one token in so many", wholeFrom(1), 1000)
    .option("--seed <seed>", "of everything that is drawn", wholeFrom(0), 1)
    .option("--state <file>", "what was seen so far; written, and gone on from if it is there")
    .option("--check", "hold the kept logits to the virtual GPU instead of generating")
    .addOption(new Option("--device <device>", "where to run")
      .choices(["auto", "cuda", "emulated", "virtual"]).default("auto"))
    .option("--max-context <tokens>", "longest sequence (default: the model's, at most 512)",
      wholeFrom(8))
    .option("--sms <count>", "SMs to use", wholeFrom(1))
    .option("--json", "print one JSON object")
    .addHelpText("after", examples)
    .action(async (model: string, options: Options) => setExit(await soak(model, options, io)));
}

const defaultContext = 512;

async function soak(name: string, options: Options, io: Io): Promise<number> {
  const { state: file, seed } = options;
  const maxContext = options.maxContext ?? await contextUpTo(defaultContext, name);
  const model = measuredModel(name);
  const old = file !== undefined && existsSync(file) ? readSoakState(file) : null;
  if (options.check === true && old === null) {
    throw inputError("there is nothing to check", "name the --state that a part has written");
  }
  const bars = progressBars(io);
  const device = options.check === true ? "virtual" : options.device;
  const opened = await open(model.source({ maxContext }), {
    device, maxContext, randomSeed: 1n, env: io.env, onProgress: bars.report,
    // Random weights are made on the GPU.
    measure: model.checkpoint === null,
    ...(options.check === true ? { precision: "f32" as const } : {}),
    ...(options.sms === undefined ? {} : { sms: options.sms }),
  }).finally(bars.stop);
  try {
    const { vocab, maxContext: context } = opened.session.limits;
    const fresh = newState({
      model: model.title, device: opened.session.device.name, seed, maxContext: context, vocab,
    });
    const before = old ?? fresh;
    checkFits(before, fresh, file ?? "");
    let saved = Date.now();
    const keep = (state: SoakState, always = false): void => {
      if (file === undefined || (!always && Date.now() - saved < 10_000)) return;
      writeNamed(file, `${JSON.stringify(state)}\n`);
      saved = Date.now();
    };
    const after = await run(opened, before, options, io, keep);
    keep(after, true);
    io.stdout.write(options.json === true ? `${JSON.stringify(withoutRows(after))}\n` : soakText(after));
    return after.failures.length > 0 ? exitCodes.failed : exitCodes.ok;
  } finally {
    await opened.close();
  }
}

/** A state goes on with the model that it is of. */
function checkFits(before: SoakState, fresh: SoakState, file: string): void {
  for (const field of ["model", "seed", "maxContext", "vocab"] as const) {
    if (before[field] === fresh[field]) continue;
    throw inputError(
      `${file}: ${field} is ${before[field]}, now it is ${fresh[field]}`, "name another --state",
    );
  }
}

function run(
  { session }: Opened,
  before: SoakState,
  { tokens, minutes, every, check }: Options,
  io: Io,
  onState: (state: SoakState) => void,
): Promise<SoakState> {
  const common = {
    mostMillis: minutes * 60_000, now: () => performance.now(), signal: io.interruptible(), onState,
  };
  if (check === true) return compareSamples(session, before, common);
  const memory = () => ({ host: process.memoryUsage().rss, deviceFree: session.freeBytes() });
  return soakPart(session, before, { ...common, tokens, checkEvery: every, memory });
}

const withoutRows = ({ samples, ...state }: SoakState) => ({
  ...state, samples: samples.map(({ generation, error }) => ({ generation, error })),
});

/** A state in words. */
export function soakText(state: SoakState): string {
  const { samples, endings, growth, failures } = state;
  const compared = samples.flatMap(({ error }) => (error === null ? [] : [error]));
  const ended = Object.entries(endings).map(([how, times]) => `${count(times)} ${how}`).join(", ");
  const seconds = state.millis / 1000;
  return (
    `${state.model} on ${state.device}: ${count(state.tokens)} tokens of ${count(state.generations)} ` +
    `generations in ${state.parts} ${state.parts === 1 ? "part" : "parts"} and ${seconds.toFixed(0)} s\n` +
    columns([
      ["ended", ended],
      ["logits checked", `${count(state.checked)}, at most ${state.worstError.toExponential(1)} from ` +
        `the same tokens read as a prompt (limit ${mostError})`],
      ["reference", samples.length === 0 ? "no logits kept" : `${compared.length} of ` +
        `${samples.length} compared, at most ${Math.max(0, ...compared).toExponential(1)}`],
      ["same request", `${count(state.canaries)} times ${state.canary ?? ""}`],
      ["memory grew", `${bytes(Math.max(0, growth.host))} (limit ${bytes(mostGrowth.host)}), of the ` +
        `device ${bytes(Math.max(0, growth.device))}`],
      ["failures", failures.length === 0 ? "none" : String(failures.length)],
    ]) +
    failures.map((failure) => `  ${failure}\n`).join("")
  );
}
