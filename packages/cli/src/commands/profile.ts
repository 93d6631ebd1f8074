/** @file `mpk profile`: where a step's microseconds go, from inside the kernel. */
import {
  accountsOf, measuredModel, open, requestFor, requireGpu, spreadOfTimes, stepMillis, traceOf,
  type Accounts, type AttentionChoice, type DeviceChoice, type Opened,
} from "@mpk/compiler";
import { runtimeError, type Profile } from "@mpk/runtime";
import { Option, type Command } from "commander";
import { seed, wholeFrom } from "../arguments.ts";
import { writeNamed, type Io } from "../io.ts";
import { accountsText } from "../profile-text.ts";
import { progressBars } from "../progress.ts";
import { attentionOption } from "./shared.ts";

interface Options {
  readonly steps: number;
  readonly skip: number;
  readonly context: number;
  readonly seed: bigint;
  readonly device: Exclude<DeviceChoice, "auto" | "virtual">;
  readonly sms?: number;
  readonly attention?: AttentionChoice;
  readonly overhead?: boolean;
  readonly tuned: boolean;
  readonly out?: string;
  readonly json?: boolean;
}

const examples = `
Examples:
  $ mpk profile path/to/checkpoint
  $ mpk profile config.json --context 4096 --steps 2 --out trace.json
  $ mpk profile qwen3-8b --json

--out FILE.json writes a Chrome trace, for ui.perfetto.dev or chrome://tracing, and beside it
FILE.profile.json with the accounts and every mark. On --device emulated times are the
emulator's: their order is a GPU's, their lengths are not.`;

export function profileCommand(program: Command, io: Io): void {
  program
    .command("profile")
    .description("name where the time of a step goes: hand-offs, empty and full rings, attention")
    .argument("<model>", "checkpoint folder, config.json, or a shape by name")
    .option("--steps <count>", "steps to keep", wholeFrom(1), 4)
    .option("--skip <count>", "decoded tokens before the first step that is kept", wholeFrom(1), 16)
    .option("--context <tokens>", "tokens before the first decoded one", wholeFrom(1), 64)
    .addOption(new Option("--seed <seed>", "of random weights").argParser(seed).default(1n, "1"))
    .addOption(new Option("--device <device>", "where to run").choices(["cuda", "emulated"])
      .default("cuda"))
    .option("--sms <count>", "SMs to use (default: all)", wholeFrom(1))
    .option("--overhead", "also time the same steps of a kernel that keeps no profile")
    .addOption(attentionOption())
    .option("--no-tuned", "leave out what mpk tune found")
    .option("--out <file>", "write a Chrome trace, and all marks beside it")
    .option("--json", "print one JSON object")
    .addHelpText("after", examples)
    .action((name: string, options: Options) => profile(name, options, io));
}

async function profile(name: string, options: Options, io: Io): Promise<void> {
  const model = measuredModel(name);
  const { context, steps, skip, device, sms } = options;
  if (device === "cuda") await requireGpu(io.env);
  const limits = { maxContext: context + skip + steps + 1 };
  const bars = progressBars(io);
  const opening = (keeps: boolean) => open(model.source(limits), {
    ...limits, device, profile: keeps, measure: device === "cuda", randomSeed: options.seed,
    tuned: options.tuned,
    onNotice: (notice) => io.stderr.write(`note: ${notice}\n`),
    onProgress: bars.report, env: io.env, ...(sms === undefined ? {} : { sms }),
    ...(options.attention === undefined ? {} : { attention: options.attention }),
  }).finally(bars.stop);
  const plainMs = options.overhead === true ? await plainStep(await opening(false), options) : null;
  const opened = await opening(true);
  try {
    const { profile: found, stepMs, launchMs } = await run(opened, options, true);
    const { plan } = opened.compiled;
    const accounts = accountsOf(plan, found, plan.machine.readBytesPerSecond);
    const overhead = plainMs === null || stepMs === null ? null : { plainMs, profiledMs: stepMs };
    const { name: on } = opened.session.device;
    const setting = {
      machine: plan.machine, target: opened.compiled.report.target, ...plan.program.limits,
      plan: opened.compiled.found ?? {},
    };
    const told = { model: model.title, device: on, context, accounts, launchMs, overhead, setting };
    if (options.out !== undefined) {
      const marks = options.out.replace(/(\.json)?$/, ".profile.json");
      save(options.out, traceOf(plan, found), io);
      save(marks, JSON.stringify({ format: "mpk-profile", version: 1, ...told, ...found }), io);
    }
    io.stdout.write(
      options.json === true
        ? `${JSON.stringify(told)}\n`
        : heading(told) + accountsText(accounts) + overheadText(overhead),
    );
  } finally {
    await opened.close();
  }
}

interface Told {
  readonly model: string;
  readonly device: string;
  readonly accounts: Accounts;
  readonly launchMs: number | null;
}

const heading = ({ model, device, accounts, launchMs }: Told): string =>
  `${model} on ${device}, mean of ${accounts.steps} steps and all SMs\n` +
  (launchMs === null
    ? ""
    : `launch, beyond its steps: ${(1000 * launchMs).toFixed(1)} µs, once\n`);

function overheadText(overhead: { plainMs: number; profiledMs: number } | null): string {
  if (overhead === null) return "";
  const { plainMs, profiledMs } = overhead;
  const percent = ((profiledMs / plainMs - 1) * 100).toFixed(2);
  return `\nstep by stamps: ${plainMs.toFixed(4)} ms, profiled ${profiledMs.toFixed(4)} ms: ` +
    `${percent} % more\n`;
}

/** The same steps of a kernel without a profile. */
async function plainStep(opened: Opened, options: Options): Promise<number | null> {
  try {
    return (await run(opened, options, false)).stepMs;
  } finally {
    await opened.close();
  }
}

interface Ran {
  readonly profile: Profile;
  readonly stepMs: number | null;
  /** The launch by events, less its steps. */
  readonly launchMs: number | null;
}

const empty: Profile = { steps: [], ringFull: [], ringFullCut: false };

/**
 * Launches behind a first one, whose steps are compared where the overhead is asked for: medians of launches
 * differ by up to 0.8 % on an H200, which is as much as what is asked for.
 */
const comparedLaunches = 40;

/** A launch whose last steps are kept; and their median by the stamps at their ends. */
async function run(opened: Opened, options: Options, keeps: boolean): Promise<Ran> {
  const { context, steps, skip, overhead = false } = options;
  const { session, compiled } = opened;
  const { read, ...asked } = requestFor(session, context);
  if (!read) await session.fillCache(2n);
  const promptSteps = Math.ceil(asked.promptIds.length / compiled.plan.program.limits.maxTokens);
  const launch = async () => {
    const generation = session.generate({
      ...asked, maxTokens: skip + steps, eosIds: [], stamps: true,
      ...(keeps ? { profile: { firstStep: promptSteps + skip - 1, steps } } : {}),
    });
    for await (const _ of generation);
    const { profile, stampNanos, millis } = generation.summary();
    return { profile, ...stepMillis({ stampNanos, millis, promptSteps }) };
  };
  const first = await launch();
  let { profile } = first;
  let times = first.tokens.slice(-steps);
  if (overhead && options.device === "cuda") {
    times = [];
    for (let i = 0; i < comparedLaunches; i++) {
      const next = await launch();
      profile = next.profile;
      times.push(...next.tokens.slice(-steps));
    }
  }
  const stepMs = times.length === 0 ? null : spreadOfTimes(times).p50;
  // The first step has no stamp before it: it is taken to be as long as its like.
  const like = first.prompt.length > 0 ? first.prompt : first.tokens;
  const launchMs = like.length === 0
    ? null
    : first.firstToken - first.prompt.reduce((a, b) => a + b, 0) - spreadOfTimes(like).p50;
  if (!keeps) return { profile: empty, stepMs, launchMs };
  if (profile !== undefined && profile.steps.length > 0) return { profile, stepMs, launchMs };
  throw runtimeError("the kernel kept no profile", "lower --steps, or raise --max-context");
}

function save(path: string, text: string, io: Io): void {
  writeNamed(path, text);
  io.stderr.write(`wrote ${path}\n`);
}
