/** @file `mpk repeat`: the same generation a thousand times, alone and beside other kernels. */
import { measuredModel, open, repeat, requireGpu, type Opened, type RepeatResult } from "@mpk/compiler";
import { inputError } from "@mpk/runtime";
import type { Command } from "commander";
import { numberBetween, wholeFrom } from "../arguments.ts";
import { exitCodes } from "../codes.ts";
import type { Io } from "../io.ts";
import { count } from "../text.ts";

interface Options {
  readonly reruns: number;
  readonly promptTokens: number;
  readonly tokens: number;
  readonly spare: number;
  readonly seconds: number;
  readonly json?: boolean;
}

const examples = `
Examples:
  $ mpk repeat path/to/checkpoint
  $ mpk repeat qwen3-0.6b --reruns 200 --seconds 20

Three times: alone on all SMs; with other kernels on another stream; and the same on fewer SMs, which
leaves the other kernels SMs of their own. Greedy and sampled generations take turns, and of one in
twenty all logits must be equal to the last bit. Exits with 1 where one rerun differs.`;

export function repeatCommand(program: Command, io: Io, setExit: (code: number) => void): void {
  program
    .command("repeat")
    .description("see that the same request gives the same tokens, alone and beside other kernels")
    .argument("<model>", "checkpoint folder, config.json or shape")
    .option("--reruns <count>", "launches that must equal the first, each time", wholeFrom(1), 1000)
    .option("--prompt-tokens <count>", "tokens of the prompt", wholeFrom(1), 24)
    .option("--tokens <count>", "tokens of one launch", wholeFrom(1), 32)
    .option("--spare <sms>", "SMs left to the other kernels, the third time", wholeFrom(1), 12)
    .option("--seconds <s>", "each time at most; less reruns then", numberBetween(0.001, 86_400), 600)
    .option("--json", "print one JSON object")
    .addHelpText("after", examples)
    .action(async (model: string, options: Options) => setExit(await repeats(model, options, io)));
}

/** That of `mpk soak`, whose kernel is then this one. */
const leastContext = 512;

type Told = RepeatResult & { readonly how: string; readonly sms: number };

async function repeats(name: string, options: Options, io: Io): Promise<number> {
  const model = measuredModel(name);
  await requireGpu(io.env);
  const signal = io.interruptible();
  const { promptTokens, tokens, reruns, seconds, spare } = options;
  const maxContext = Math.max(leastContext, promptTokens + tokens + 1);
  const results: Told[] = [];
  const openWith = (sms?: number): Promise<Opened> => open(model.source({ maxContext }), {
    device: "cuda", maxContext, measure: true, randomSeed: 1n, env: io.env,
    ...(sms === undefined ? {} : { sms }),
  });
  const one = async ({ session, compiled }: Opened, how: string, beside: boolean) => {
    const result = await repeat(session, {
      reruns, promptTokens, tokens, beside, logitsEvery: 20, now: () => performance.now(),
      mostMillis: seconds * 1000, signal,
    });
    const told = { how, sms: compiled.plan.machine.sms, ...result };
    results.push(told);
    if (options.json !== true) io.stdout.write(repeatText(told));
    return told;
  };
  const whole = await openWith();
  const { sms } = whole.compiled.plan.machine;
  try {
    await one(whole, "alone", false);
    await one(whole, "other kernels beside", true);
  } finally {
    await whole.close();
  }
  if (spare >= sms) throw inputError(`--spare ${spare} leaves none of ${sms} SMs`, "spare fewer");
  const part = await openWith(sms - spare);
  try {
    await one(part, `other kernels beside, on ${spare} SMs of their own`, true);
  } finally {
    await part.close();
  }
  if (options.json === true) io.stdout.write(`${JSON.stringify({ model: model.title, results })}\n`);
  if (signal.aborted) return exitCodes.interrupted;
  return results.every(({ equal, reruns: ran }) => equal === ran) ? exitCodes.ok : exitCodes.failed;
}

function repeatText(told: Told): string {
  const { how, sms, reruns, equal, withLogits, kernelsBeside, millis, firstOther, digest } = told;
  const other = firstOther === null ? "" : `, the first other one is rerun ${firstOther}`;
  const beside = kernelsBeside === 0 ? "" : `, ${count(kernelsBeside)} other kernels meanwhile`;
  return `${how} (${sms} SMs): ${equal} of ${reruns} reruns equal, ${withLogits} with all logits` +
    `${other}${beside}, ${(millis / 1000).toFixed(1)} s, tokens ${digest.slice(0, 12)}\n`;
}
