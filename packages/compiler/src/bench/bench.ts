/** @file Benchmarks one model: opens it as a user would, times it, and holds it to transformers. */
import { diagnose } from "../doctor.ts";
import { open, type Opened, type OpenOptions } from "../open.ts";
import { environmentError, type Environment, type OnProgress } from "@mpk/runtime";
import { tokenBytes } from "@mpk/models";
import type { MeasuredModel } from "./model.ts";
import {
  contextNeeded, measureDecode, measurePromptSteps, withLogits, type DecodeTimes,
} from "./measure.ts";
import { measureBeside, type BesideRequest } from "./python.ts";
import { limitOf, notMeasured, type BenchResult } from "./result.ts";

export interface BenchOptions {
  /** Tokens before the first measured one. */
  readonly contexts: readonly number[];
  /** 1: one token decoded a step. More: steps of so many prompt tokens. */
  readonly tokensPerStep: readonly number[];
  /** Measured tokens of one launch. */
  readonly tokens: number;
  /** Launches that count; their tokens must be equal. */
  readonly reruns: number;
  readonly seed: bigint;
  /** Time PyTorch and hold logits to transformers on the same weights. */
  readonly wantsTorch: boolean;
  /** Read each context as a prompt; default: up to 512 tokens, behind random rows beyond. */
  readonly readContext?: boolean;
  readonly open?: Pick<OpenOptions, "plan" | "ordinal" | "watchdogSeconds" | "tuned" | "onNotice">;
  readonly env: Environment;
  readonly onProgress?: OnProgress;
  /** What is done next, in words. */
  readonly onStage?: (what: string) => void;
  readonly onResult?: (result: BenchResult) => void;
}

/** @throws MpkError (environment) where there is no GPU: absolute times only come from one. */
export async function requireGpu(env: Environment): Promise<void> {
  const { uses, verdict } = await diagnose(env);
  if (uses === "cuda") return;
  throw environmentError(
    `nothing can be timed here, and no other time would be true of a GPU: ${verdict}`,
    "run it on a machine with an NVIDIA GPU and its driver; `mpk doctor` shows what is found",
  );
}

interface Setting {
  readonly context: number;
  readonly tokensPerStep: number;
}

/** Every context with every number of tokens a step. */
export async function benchModel(
  model: MeasuredModel,
  options: BenchOptions,
): Promise<readonly BenchResult[]> {
  await requireGpu(options.env);
  const results: BenchResult[] = [];
  for (const tokensPerStep of options.tokensPerStep) for (const context of options.contexts) {
    const result = await benchOne(model, { context, tokensPerStep }, options);
    results.push(result);
    options.onResult?.(result);
  }
  return results;
}

async function openFor(
  model: MeasuredModel,
  { context, tokensPerStep }: Setting,
  options: BenchOptions,
): Promise<Opened> {
  const maxContext = contextNeeded(context, options.tokens, tokensPerStep);
  const limits = { maxContext, ...(tokensPerStep === 1 ? {} : { maxTokens: tokensPerStep }) };
  const { env, onProgress, seed } = options;
  return open(model.source(limits), {
    ...options.open, ...limits, device: "cuda", measure: true, randomSeed: seed, env,
    ...(onProgress === undefined ? {} : { onProgress }),
  });
}

interface Ours {
  readonly times: Omit<DecodeTimes, "eventMs" | "promptStepMs"> &
    Partial<Pick<DecodeTimes, "eventMs" | "promptStepMs">>;
  readonly probe: number;
  readonly known: number;
  readonly promptChunk: number;
  readonly run: BesideRequest["run"];
}

async function ours(
  model: MeasuredModel,
  setting: Setting,
  options: BenchOptions,
): Promise<Ours> {
  const { context, tokensPerStep } = setting;
  const { tokens, reruns, onStage, onProgress, readContext = false } = options;
  onStage?.(`${model.title}: compiling and loading`);
  const opened = await openFor(model, setting, options);
  try {
    const { session, compiled } = opened;
    const promptChunk = compiled.plan.program.limits.maxTokens;
    onStage?.(`${model.title}: read bandwidth`);
    const probe = await session.readBandwidth();
    const known = compiled.plan.machine.readBytesPerSecond;
    onStage?.(`${model.title}: ${reruns} launches at context ${context}`);
    if (tokensPerStep > 1) {
      const times = await measurePromptSteps(session, context, tokensPerStep, reruns);
      return { times, probe, known, promptChunk, run: null };
    }
    const onRun = (done: number) => onProgress?.({ stage: "generate", done, total: reruns });
    const asked = { context, tokens, reruns, promptChunk, readContext, onRun };
    const times = await measureDecode(session, asked);
    if (!times.read || !options.wantsTorch) return { times, probe, known, promptChunk, run: null };
    const { prompt, launched } = await withLogits(session, context, tokens, readContext);
    const { logits } = launched.summary;
    return { times, probe, known, promptChunk, run: { prompt, tokens: launched.tokens, logits } };
  } finally {
    await opened.close();
  }
}

async function benchOne(
  model: MeasuredModel,
  setting: Setting,
  options: BenchOptions,
): Promise<BenchResult> {
  const { context, tokensPerStep } = setting;
  const { times, probe, known, promptChunk, run } = await ours(model, setting, options);
  const { weights, cache } = tokenBytes(model.config, context);
  const limit = limitOf(known, probe);
  // The GPU is ours no more: PyTorch needs its memory.
  const { env, seed, wantsTorch, onStage } = options;
  const { config, checkpoint } = { config: model.json, checkpoint: model.checkpoint };
  const many = notMeasured("only steps of one token have a counterpart");
  const beside = tokensPerStep > 1
    ? { torch: many, fidelity: many }
    : await measureBeside(
      {
        config, checkpoint, seed, context, wantsTorch, run,
        ...(onStage === undefined
          ? {}
          : { onStage: (what: string) => onStage(`${model.title}: ${what}`) }),
      },
      env,
    );
  const { promptStepMs = null, eventMs = null } = times;
  return {
    model: model.title, context, tokensPerStep, weightBytes: weights, cacheBytes: cache,
    limitBytesPerSecond: limit, probeBytesPerSecond: probe,
    floorMs: ((weights + cache) / limit) * 1000,
    ms: times.ms, eventMs, firstTokenMs: times.firstTokenMs,
    promptStep: promptStepMs === null ? null : { tokens: promptChunk, ms: promptStepMs },
    reruns: times.reruns, rerunsEqual: times.rerunsEqual, ...beside,
  };
}
