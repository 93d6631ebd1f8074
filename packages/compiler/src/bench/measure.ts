/** @file Times decoding in a session: steps by the GPU's clock, reruns compared token by token. */
import { runtimeError, type GenerateRequest, type Session, type Summary } from "@mpk/runtime";
import type { LongRun } from "./result.ts";
import { settingOf, type BenchSetting } from "./setting.ts";
import {
  lateness, medianByPosition, spreadOfTimes, stepMillis, type Spread, type StepMillis,
} from "./statistics.ts";

export interface DecodeRequest extends Pick<BenchSetting, "context" | "tokens" | "reruns" | "reads"> {
  /** The kernel's own: prompt tokens that one step takes. */
  readonly promptChunk: number;
  readonly onRun?: (done: number) => void;
}

export interface DecodeTimes {
  readonly ms: Spread;
  readonly late: Spread;
  readonly byPosition: readonly number[];
  readonly eventMs: number | null;
  readonly firstTokenMs: number;
  readonly promptStepMs: number | null;
  readonly reruns: number;
  readonly rerunsEqual: number;
  readonly unequal: readonly { readonly launch: number; readonly token: number }[];
}

/** Ids that are spread over the vocabulary, the same every time. */
export const promptOf = (length: number, vocab: number): readonly number[] =>
  Array.from({ length }, (_, i) => (i * 7919 + 13) % vocab);

/** Prompt tokens that are read behind random rows. */
const shortPrompt = 8;
const cacheSeed = 2n;

interface Launched {
  readonly tokens: readonly number[];
  readonly summary: Summary;
}

type Asked = Pick<GenerateRequest, "promptIds" | "startPosition">;

async function launch(session: Session, request: GenerateRequest): Promise<Launched> {
  const generation = session.generate({ ...request, eosIds: [], stamps: true });
  const tokens: number[] = [];
  for await (const id of generation) tokens.push(id);
  const summary = generation.summary();
  if (tokens.length === (request.maxTokens ?? tokens.length)) return { tokens, summary };
  throw runtimeError(
    `the launch gave ${tokens.length} tokens of ${request.maxTokens} (${summary.finish})`,
    "raise --max-context",
  );
}

/** What is asked of each launch at a context that is read where it is short, else made at random. */
export function requestFor(session: Session, context: number): Asked & { readonly read: boolean } {
  const { reads } = settingOf({ model: "", context });
  const { first } = requestsFor(session, { context, reads, promptChunk: 1 });
  return { ...first, read: reads !== "random" };
}

/** What the first launch is asked for, and what those after it are. */
export function requestsFor(
  session: Session,
  { context, reads, promptChunk }: Pick<DecodeRequest, "context" | "reads" | "promptChunk">,
): { readonly first: Asked; readonly others: Asked } {
  const { vocab } = session.limits;
  if (reads === "random") {
    const asked = { promptIds: promptOf(shortPrompt, vocab), startPosition: context - shortPrompt };
    return { first: asked, others: asked };
  }
  const promptIds = promptOf(Math.max(1, context), vocab);
  const first = { promptIds, startPosition: 0 };
  // The prompt's last two steps again, on rows that the first launch left behind: one is timed.
  const startPosition = Math.max(0, Math.ceil(promptIds.length / promptChunk) - 2) * promptChunk;
  const behind = { promptIds: promptIds.slice(startPosition), startPosition };
  return { first, others: reads === "each" ? first : behind };
}

/** The rows that a launch starts behind, where it reads none. */
export async function prepareCache(session: Session, reads: BenchSetting["reads"]): Promise<void> {
  if (reads === "random") await session.fillCache(cacheSeed);
}

export interface WithLogits {
  readonly prompt: readonly number[];
  readonly launched: Launched;
  /** Launches beside the first, and how many of them gave its logits to the last bit. */
  readonly again: number;
  readonly equal: number;
}

/**
 * Launches with the logits of every token: tokens alone hide what differs by little. With
 * `reads: "once"`, after `measureDecode`, which read the context.
 */
export async function withLogits(
  session: Session,
  request: Pick<DecodeRequest, "context" | "tokens" | "reads" | "promptChunk">,
  reruns: (millis: number) => number = () => 0,
): Promise<WithLogits> {
  const { first, others } = requestsFor(session, request);
  const asked = { ...others, maxTokens: request.tokens, logits: "all" } as const;
  const launched = await launch(session, asked);
  const rows = launched.summary.logits.map(bytesOf);
  let equal = 0;
  const again = reruns(launched.summary.millis);
  for (let run = 0; run < again; run++) {
    const { summary: { logits } } = await launch(session, asked);
    const same = logits.length === rows.length &&
      logits.every((row, i) => bytesOf(row).equals(rows[i] ?? Buffer.of()));
    if (same) equal++;
  }
  return { prompt: first.promptIds, launched, again, equal };
}

const bytesOf = (row: Float32Array): Buffer => Buffer.from(row.buffer, row.byteOffset, row.byteLength);

/** A launch's step times. @throws MpkError where it kept none. */
function timesOf(session: Session, { promptIds }: Asked, launched: Launched, chunk: number): StepMillis {
  const { tokens, summary } = launched;
  const times = stepMillis({ ...summary, promptSteps: Math.ceil(promptIds.length / chunk) });
  if (times.tokens.length === tokens.length - 1) return times;
  throw noTimes(session, times.tokens.length, tokens.length - 1);
}

/** Times one-token steps. @throws MpkError where a launch fails or keeps no times. */
export async function measureDecode(
  session: Session,
  request: DecodeRequest,
): Promise<DecodeTimes> {
  const { tokens, reruns, promptChunk, reads, onRun } = request;
  const { first, others } = requestsFor(session, request);
  await prepareCache(session, reads);
  const launches: StepMillis[] = [];
  let read: StepMillis | null = null;
  let expected: readonly number[] | undefined;
  const unequal: { launch: number; token: number }[] = [];
  // One more than counts: the first launch also loads the kernel.
  for (let run = 0; run <= reruns; run++) {
    // Rows behind the context are written again by each launch, so all launches read the same.
    const asked = run === 0 ? first : others;
    const launched = await launch(session, { ...asked, maxTokens: tokens });
    expected ??= launched.tokens;
    onRun?.(run);
    const times = timesOf(session, asked, launched, promptChunk);
    if (run === 0) {
      if (reads === "once") read = times;
      continue;
    }
    const token = launched.tokens.findIndex((id, i) => id !== expected?.[i]);
    if (token >= 0) unequal.push({ launch: run, token });
    launches.push(times);
  }
  const steps = launches.map((times) => times.tokens);
  const withPrompt = read === null ? launches : [read];
  const prompts = withPrompt.flatMap(({ prompt }) => prompt);
  const events = launches.flatMap(({ byEvents }) => (byEvents === null ? [] : [byEvents]));
  return {
    ms: spreadOfTimes(steps.flat()), late: lateness(steps), byPosition: medianByPosition(steps),
    eventMs: events.length === 0 ? null : spreadOfTimes(events).p50,
    firstTokenMs: spreadOfTimes(withPrompt.map(({ firstToken }) => firstToken)).p50,
    promptStepMs: prompts.length === 0 ? null : spreadOfTimes(prompts).p50,
    reruns, rerunsEqual: reruns - unequal.length, unequal,
  };
}

/** One launch of `tokens` tokens behind the context: its times grow with what attention takes in. */
export async function measureLong(
  session: Session,
  request: Pick<DecodeRequest, "context" | "tokens" | "reads" | "promptChunk">,
): Promise<LongRun> {
  const { others } = requestsFor(session, request);
  const launched = await launch(session, { ...others, maxTokens: request.tokens });
  const { tokens } = timesOf(session, others, launched, request.promptChunk);
  return {
    tokens: tokens.length, ms: spreadOfTimes(tokens),
    firstHundredMs: spreadOfTimes(tokens.slice(0, 100)).p50,
    lastHundredMs: spreadOfTimes(tokens.slice(-100)).p50,
  };
}

const noTimes = (session: Session, got: number, expected: number) => runtimeError(
  `${session.device.name} kept ${got} step times, expected ${expected}`,
  "absolute times only come from a GPU",
);

/** Prompt steps that are measured in a launch. */
const measuredSteps = 16;

/** Times steps of `promptChunk` tokens each behind a context. */
export async function measurePromptSteps(
  session: Session,
  context: number,
  promptChunk: number,
  reruns: number,
): Promise<Omit<DecodeTimes, "eventMs" | "promptStepMs" | "unequal">> {
  if (context > 0) await prepareCache(session, "random");
  const promptIds = promptOf(promptChunk * (measuredSteps + 1), session.limits.vocab);
  const steps: (readonly number[])[] = [];
  const firsts: number[] = [];
  let expected: number | undefined;
  let equal = 0;
  for (let run = 0; run <= reruns; run++) {
    const asked = { promptIds, startPosition: context, maxTokens: 1 };
    const { tokens: [token], summary } = await launch(session, asked);
    expected ??= token;
    if (run === 0) continue;
    if (token === expected) equal++;
    const times = stepMillis({ ...summary, promptSteps: measuredSteps + 1 });
    if (times.prompt.length !== measuredSteps) {
      throw noTimes(session, times.prompt.length, measuredSteps);
    }
    steps.push(times.prompt);
    firsts.push(times.firstToken);
  }
  return {
    ms: spreadOfTimes(steps.flat()), late: lateness(steps), byPosition: medianByPosition(steps),
    firstTokenMs: spreadOfTimes(firsts).p50, reruns, rerunsEqual: equal,
  };
}

/** Prompt tokens of the steps that `measurePromptSteps` times. */
export const promptTokensOf = (promptChunk: number): number => promptChunk * (measuredSteps + 1);

/** Positions that a measurement needs, its longer launch apart. */
export function contextNeeded(setting: BenchSetting): number {
  const { context, tokens, tokensPerStep } = setting;
  return tokensPerStep === 1
    ? Math.max(1, context) + tokens + 1
    : context + promptTokensOf(tokensPerStep) + tokens + 1;
}
