/** @file What `mpk bench` measures, one setting after the other, each result kept as it comes. */
import {
  buildApart, goesOn, isKnown, measureAll, measureApart, measureBesides, originHere, requireGpu, resultText,
  settingOf, settingText, withResult, type AttentionChoice, type BenchFile, type BenchResult,
  type BenchSetting, type BesideOptions, type Origin, type Queued, type Run,
} from "@mpk/compiler";
import { inputError } from "@mpk/runtime";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeNamed, type Io } from "../io.ts";
import { progressBars, type ProgressBars } from "../progress.ts";

export interface MeasureOptions {
  readonly context: readonly number[];
  readonly reads?: BenchSetting["reads"];
  readonly tokensPerStep: readonly number[];
  readonly tokens: number;
  readonly longTokens: number;
  readonly reruns: number;
  readonly maxTokensPerStep?: number;
  readonly attention?: AttentionChoice;
  readonly seed: bigint;
  readonly baseline?: "torch";
  readonly tuned: boolean;
  readonly json?: boolean;
  readonly out?: string | undefined;
  readonly resume?: boolean;
  readonly minutes?: number;
  readonly commit?: string;
  readonly mix?: boolean;
  readonly dryRun?: boolean;
}

/** Every model with every number of tokens a step and every context. */
export function settingsOf(models: readonly string[], options: MeasureOptions): readonly BenchSetting[] {
  const { tokens, longTokens, reruns, seed, tuned, reads, attention = null } = options;
  const wants = options.baseline === "torch";
  return models.flatMap((model) => options.tokensPerStep.flatMap((tokensPerStep) =>
    options.context.map((context) => settingOf({
      model, context, tokensPerStep, tokens, longTokens, reruns, seed, tuned, attention,
      promptChunk: options.maxTokensPerStep ?? null, wantsTorch: wants && tokensPerStep === 1,
      wantsFidelity: wants, ...(reads === undefined ? {} : { reads }),
    }))));
}

/** A setting takes no longer, whatever it is. */
const mostSeconds = 300;

/** Measures what `known` does not hold. @throws MpkError where `known` is of another machine or program. */
export async function measure(
  settings: readonly BenchSetting[],
  known: BenchFile | null,
  options: MeasureOptions,
  io: Io,
): Promise<Queued> {
  await requireGpu(io.env);
  const origin = await originHere(io.env, options.commit);
  const { machine, commit } = origin;
  const begun: BenchFile = known ?? {
    format: "mpk-bench", version: 1, machine, commit,
    command: `mpk bench ${process.argv.slice(3).join(" ")}`, results: [],
  };
  const { refusal, notes } = goesOn(begun, origin, options.mix === true);
  if (refusal !== null) {
    throw inputError(`${options.out}: ${refusal}`, "name another --out, or add --mix for other sources");
  }
  for (const note of notes) io.stderr.write(`note: ${note}\n`);
  const end = performance.now() + (options.minutes ?? Infinity) * 60_000;
  const bars = progressBars(io);
  const say = (text: string) => {
    bars.stop();
    io.stderr.write(`${text}\n`);
  };
  const scratch = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "mpk-bench-"));
  try {
    return await measureIn(scratch, settings, { begun, origin, end, bars, say }, options, io);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

interface Session {
  readonly begun: BenchFile;
  readonly origin: Origin;
  /** By performance.now(). */
  readonly end: number;
  readonly bars: ProgressBars;
  say(text: string): void;
}

/** Share of the time after which no kernel is begun: PyTorch comes behind them. */
const oursShare = 0.63;

async function measureIn(
  scratch: string,
  settings: readonly BenchSetting[],
  { begun, origin, end, bars, say }: Session,
  { out, json }: MeasureOptions,
  io: Io,
): Promise<Queued> {
  const start = performance.now();
  const seconds = () => Math.min(mostSeconds, (end - performance.now()) / 1000);
  const keep = (file: BenchFile) => {
    if (out !== undefined) writeNamed(out, `${JSON.stringify(file, null, 1)}\n`);
  };
  const show = (result: BenchResult) => {
    bars.stop();
    if (json !== true) io.stdout.write(`${resultText(result)}\n`);
  };
  const unknown = settings.filter((setting) => !isKnown(begun, setting));
  if (unknown.length > 1) {
    say(`building ${unknown.length} kernels`);
    const builds = unknown.map((setting) => ({ setting }));
    await buildApart(builds, { env: io.env, mostSeconds: seconds() });
  }
  const runs = new Map<string, Run | null>();
  const late = settings.some(({ wantsTorch, wantsFidelity }) => wantsTorch || wantsFidelity);
  const last = end === Infinity ? end : start + (end - start) * (late ? oursShare : 1);
  let longest = 0;
  const queued = await measureAll({
    settings, file: begun, origin, keep,
    async measure(setting) {
      const from = performance.now();
      const apart = {
        env: io.env, onStage: say, onProgress: bars.report, mostSeconds: seconds(),
        onNotice: (notice: string) => say(`note: ${notice}`),
      };
      try {
        const { result, run } = await measureApart(setting, apart, scratch);
        runs.set(settingText(setting), run);
        return result;
      } finally {
        bars.stop();
        longest = Math.max(longest, performance.now() - from);
      }
    },
    // What begins late ends in the share of what comes behind; without that, nothing may end late.
    stopped: () => (performance.now() + (late ? 0 : longest) > last ? "no time left" : null),
    onSkip: ({ model, context, tokensPerStep }, why) =>
      say(`${model}, context ${context}, ${tokensPerStep} tokens a step: ${why}`),
    onResult: (result) => show(result),
    onFailure: ({ model, error }) => say(`${model}: ${error}`),
  });
  return besides(queued, settings, runs, { env: io.env, scratch, mostSeconds: seconds, keep, show, say });
}

interface Besides extends Pick<BesideOptions, "env" | "scratch" | "mostSeconds"> {
  keep(file: BenchFile): void;
  show(result: BenchResult): void;
  say(text: string): void;
}

/** PyTorch and transformers on the weights of all that was just measured; what is left stays pending. */
async function besides(
  { file: ours, left }: Queued,
  settings: readonly BenchSetting[],
  runs: ReadonlyMap<string, Run | null>,
  { env, scratch, mostSeconds: seconds, keep, show, say }: Besides,
): Promise<Queued> {
  let file = ours;
  const jobs = settings.flatMap((setting) => {
    const key = settingText(setting);
    const result = file.results.find((one) => one.setting === key);
    return result?.pending === true && runs.has(key)
      ? [{ setting, result, run: runs.get(key) ?? null }]
      : [];
  });
  if (jobs.length > 0) say(`PyTorch and transformers on the same weights, for ${jobs.length} results`);
  await measureBesides(jobs, {
    env, scratch, mostSeconds: seconds,
    onResult(result) {
      file = withResult(file, result);
      keep(file);
      show(result);
    },
  });
  const pending = file.results.filter((result) => result.pending === true).length;
  return { file, left: left + pending };
}
