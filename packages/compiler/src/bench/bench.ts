/** @file Measures one setting: opens the model as a user would, times it, and keeps its logits. */
import { diagnose } from "../doctor.ts";
import { open, type Opened, type OpenOptions } from "../open.ts";
import { environmentError, type Environment, type OnProgress, type Session } from "@mpk/runtime";
import { tokenBytes } from "@mpk/models";
import { measuredModel, type MeasuredModel } from "./model.ts";
import {
  contextNeeded, measureDecode, measureLong, measurePromptSteps, promptTokensOf, withLogits,
} from "./measure.ts";
import { hasGate, notYet, writeRun, type KeptRun, type Run } from "./beside.ts";
import { limitOf, type BenchResult, type LongRun } from "./result.ts";
import type { BenchSetting } from "./setting.ts";

export interface BenchOptions {
  readonly env: Environment;
  readonly open?: Pick<OpenOptions, "plan" | "ordinal" | "watchdogSeconds" | "onNotice">;
  readonly onProgress?: OnProgress;
  /** What is done next, in words. */
  readonly onStage?: (what: string) => void;
}

/**
 * Returns where a GPU can be used.
 * @throws MpkError (environment) elsewhere: absolute times only come from one.
 */
export async function requireGpu(env: Environment): Promise<void> {
  const { uses, verdict } = await diagnose(env);
  if (uses === "cuda") return;
  throw environmentError(
    `nothing can be timed here, and no other time would be true of a GPU: ${verdict}`,
    "run it on a machine with an NVIDIA GPU and its driver; `mpk doctor` shows what is found",
  );
}

/** Seconds by part, and what comes next told. */
function stopwatch(title: string, onStage: BenchOptions["onStage"]) {
  const seconds: Record<string, number> = {};
  const timed = async <T>(part: string, what: string, work: () => Promise<T>): Promise<T> => {
    onStage?.(`${title}: ${what}`);
    const start = performance.now();
    try {
      return await work();
    } finally {
      seconds[part] = Math.round((seconds[part] ?? 0) * 10 + (performance.now() - start) / 100) / 10;
    }
  };
  return { seconds, timed };
}

type Timed = ReturnType<typeof stopwatch>["timed"];

/** What a setting says of compiling: limits above all. */
export function compileOptionsOf(
  setting: BenchSetting,
): Pick<OpenOptions, "attention" | "tuned" | "maxTokens"> & { readonly maxContext: number } {
  const { tokensPerStep, promptChunk, attention, tuned } = setting;
  const maxTokens = tokensPerStep > 1 ? tokensPerStep : promptChunk;
  return {
    maxContext: contextNeeded(setting), tuned, ...(maxTokens === null ? {} : { maxTokens }),
    ...(attention === null ? {} : { attention }),
  };
}

async function openFor(
  model: MeasuredModel,
  setting: BenchSetting,
  { env, onProgress, open: given }: BenchOptions,
): Promise<Opened> {
  const compiling = compileOptionsOf(setting);
  return open(model.source(compiling), {
    ...given, ...compiling, device: "cuda", measure: true, randomSeed: setting.seed, env,
    ...(onProgress === undefined ? {} : { onProgress }),
  });
}

type Times = Pick<BenchResult, "ms" | "late" | "byPosition" | "eventMs" | "firstTokenMs" | "reruns"
  | "rerunsEqual" | "unequal" | "promptStep">;

interface Ours {
  readonly times: Times;
  readonly probe: number;
  readonly known: number;
  readonly logitReruns: { readonly launches: number; readonly equal: number };
  readonly run: KeptRun;
}

async function ours(
  model: MeasuredModel,
  setting: BenchSetting,
  options: BenchOptions,
  timed: Timed,
): Promise<Ours> {
  const opened = await timed("open", "compiling and loading", () => openFor(model, setting, options));
  try {
    const { session, compiled } = opened;
    const { plan } = compiled;
    const probe = await timed("probe", "read bandwidth", () => session.readBandwidth());
    const promptChunk = plan.program.limits.maxTokens;
    const measure = setting.tokensPerStep > 1 ? steps : decode;
    const times = await measure(session, setting, promptChunk, options, timed);
    const kept = await logits(session, setting, promptChunk, timed);
    return { times, probe, known: plan.machine.readBytesPerSecond, ...kept };
  } finally {
    await opened.close();
  }
}

/** One longer launch, of a kernel compiled for its length: attention is chosen by the longest context. */
async function longRun(
  model: MeasuredModel,
  setting: BenchSetting,
  options: BenchOptions,
  timed: Timed,
): Promise<LongRun | null> {
  const { longTokens } = setting;
  if (longTokens === 0 || setting.tokensPerStep > 1) return null;
  return timed("long", `one launch of ${longTokens} tokens`, async () => {
    const asked = { ...setting, tokens: longTokens };
    const { session, compiled, close } = await openFor(model, asked, options);
    try {
      return await measureLong(session, { ...asked, promptChunk: compiled.plan.program.limits.maxTokens });
    } finally {
      await close();
    }
  });
}

async function decode(
  session: Session,
  setting: BenchSetting,
  promptChunk: number,
  { onProgress }: BenchOptions,
  timed: Timed,
): Promise<Times> {
  const { context, reruns } = setting;
  const onRun = (done: number) => onProgress?.({ stage: "generate", done, total: reruns });
  const { promptStepMs, ...times } = await timed("launches", `${reruns} launches at context ${context}`,
    () => measureDecode(session, { ...setting, promptChunk, onRun }));
  const promptStep = promptStepMs === null ? null : { tokens: promptChunk, ms: promptStepMs };
  return { ...times, promptStep };
}

async function steps(
  session: Session,
  { context, tokensPerStep, reruns }: BenchSetting,
  _promptChunk: number,
  _options: BenchOptions,
  timed: Timed,
): Promise<Times> {
  const what = `${reruns} launches of steps of ${tokensPerStep} tokens`;
  const times = await timed("launches", what,
    () => measurePromptSteps(session, context, tokensPerStep, reruns));
  return { ...times, eventMs: null, promptStep: null };
}

/** Launches whose logits are compared to the last bit with those of one before; fewer of long ones. */
const logitReruns = 4;
const longLaunchMillis = 1000;

/**
 * Launches whose every logit is compared, and held to transformers. Steps of many tokens read a prompt
 * there, and what they left in the cache shows in each token that is decoded behind it.
 */
async function logits(
  session: Session,
  setting: BenchSetting,
  promptChunk: number,
  timed: Timed,
): Promise<Pick<Ours, "run" | "logitReruns">> {
  const { tokensPerStep } = setting;
  const many = tokensPerStep > 1;
  const asked = many
    ? { ...setting, context: promptTokensOf(tokensPerStep), reads: "each" as const }
    : setting;
  const { prompt, launched, again, equal } = await timed("logits", "logits of every token",
    () => withLogits(session, { ...asked, promptChunk }, (millis) =>
      (millis > longLaunchMillis ? logitReruns / 2 : logitReruns)));
  const run = { prompt, tokens: launched.tokens, logits: launched.summary.logits };
  return { logitReruns: { launches: again, equal }, run };
}

export interface BenchMeasured {
  readonly result: BenchResult;
  /** A launch that the fidelity gate can hold to transformers. */
  readonly run: Run | null;
}

/**
 * Measures one setting, ours alone: what is beside it is `pending`. Logits lie in `scratch`.
 * @throws MpkError for what cannot be opened or launched.
 */
export async function benchOne(
  setting: BenchSetting,
  options: BenchOptions,
  scratch: string | null = null,
): Promise<BenchMeasured> {
  await requireGpu(options.env);
  const model = measuredModel(setting.model);
  const { context, tokensPerStep } = setting;
  const { seconds, timed } = stopwatch(model.title, options.onStage);
  const { times, probe, known, run, logitReruns } = await ours(model, setting, options, timed);
  const long = await longRun(model, setting, options, timed);
  const { weights, cache } = tokenBytes(model.config, context);
  const limit = limitOf(known, probe);
  const result = {
    model: model.title, context, tokensPerStep, weightBytes: weights, cacheBytes: cache,
    limitBytesPerSecond: limit, probeBytesPerSecond: probe,
    floorMs: ((weights + cache) / limit) * 1000, ...times, long, logitReruns, seconds,
    ...notYet(setting),
  };
  return { result, run: hasGate(setting) && scratch !== null ? await writeRun(scratch, run) : null };
}
