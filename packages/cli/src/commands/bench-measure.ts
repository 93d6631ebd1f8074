/** @file What `mpk bench` measures, one setting after the other, each result kept as it comes. */
import {
  buildApart, goesOn, measureAll, measureApart, originHere, requireGpu, resultText, settingOf,
  type AttentionChoice, type BenchFile, type Queued, type BenchSetting,
} from "@mpk/compiler";
import { inputError } from "@mpk/runtime";
import { writeNamed, type Io } from "../io.ts";
import { progressBars } from "../progress.ts";

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
  const start = performance.now();
  const end = options.minutes === undefined ? Infinity : start + options.minutes * 60_000;
  const seconds = () => Math.min(mostSeconds, (end - performance.now()) / 1000);
  const bars = progressBars(io);
  const say = (text: string) => {
    bars.stop();
    io.stderr.write(`${text}\n`);
  };
  const apart = {
    env: io.env, onStage: say, onNotice: (notice: string) => say(`note: ${notice}`),
    onProgress: bars.report,
  };
  const builds = settings.map((setting) => ({ setting }));
  if (builds.length > 1) {
    say(`building ${builds.length} kernels`);
    await buildApart(builds, { env: io.env, mostSeconds: seconds() });
  }
  let longest = 0;
  return measureAll({
    settings, file: begun, origin,
    async measure(setting) {
      const from = performance.now();
      try {
        return await measureApart(setting, { ...apart, mostSeconds: seconds() });
      } finally {
        bars.stop();
        longest = Math.max(longest, performance.now() - from);
      }
    },
    stopped: () => (performance.now() + longest > end ? "no time left" : null),
    keep(file) {
      if (options.out !== undefined) writeNamed(options.out, `${JSON.stringify(file, null, 1)}\n`);
    },
    onSkip: ({ model, context, tokensPerStep }, why) =>
      say(`${model}, context ${context}, ${tokensPerStep} tokens a step: ${why}`),
    onResult(result) {
      if (options.json !== true) io.stdout.write(`${resultText(result)}\n`);
    },
    onFailure: ({ model, error }) => say(`${model}: ${error}`),
  });
}
