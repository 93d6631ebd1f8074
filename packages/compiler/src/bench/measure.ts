/** @file Times decoding in a session: steps by the GPU's clock, reruns compared token by token. */
import { runtimeError, type GenerateRequest, type Session, type Summary } from "@mpk/runtime";
import { spreadOfTimes, stepMillis, type Spread } from "./statistics.ts";

export interface DecodeRequest {
  /** Tokens before the first measured one. */
  readonly context: number;
  /** Measured tokens of one launch. */
  readonly tokens: number;
  readonly reruns: number;
  /** The kernel's own: prompt tokens that one step takes. */
  readonly promptChunk: number;
  /** Read the context as a prompt, however long it is. */
  readonly readContext?: boolean;
  readonly onRun?: (done: number) => void;
}

export interface DecodeTimes {
  readonly ms: Spread;
  readonly eventMs: number | null;
  readonly firstTokenMs: number;
  readonly promptStepMs: number | null;
  readonly reruns: number;
  readonly rerunsEqual: number;
  /** Whether the context is a prompt that was read: then logits mean something. */
  readonly read: boolean;
}

/** Ids that are spread over the vocabulary, the same every time. */
export const promptOf = (length: number, vocab: number): readonly number[] =>
  Array.from({ length }, (_, i) => (i * 7919 + 13) % vocab);

/** A longer context than this is not read: the cache's rows are made at random. */
const longestRead = 512;
/** Prompt tokens that are read behind random rows. */
const shortPrompt = 8;
const cacheSeed = 2n;

interface Launched {
  readonly tokens: readonly number[];
  readonly summary: Summary;
}

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

/** What is asked of each launch, at a context. */
export function requestFor(
  session: Session,
  context: number,
  readContext = false,
): Pick<GenerateRequest, "promptIds" | "startPosition"> & { readonly read: boolean } {
  const read = readContext || context <= longestRead;
  const length = read ? Math.max(1, context) : shortPrompt;
  const promptIds = promptOf(length, session.limits.vocab);
  return { promptIds, startPosition: read ? 0 : context - length, read };
}

/** One launch with the logits of every token. */
export async function withLogits(
  session: Session,
  context: number,
  tokens: number,
  readContext = false,
): Promise<{ readonly prompt: readonly number[]; readonly launched: Launched }> {
  const { promptIds } = requestFor(session, context, readContext);
  const launched = await launch(session, { promptIds, maxTokens: tokens, logits: "all" });
  return { prompt: promptIds, launched };
}

/** Times one-token steps. @throws MpkError where a launch fails or keeps no times. */
export async function measureDecode(
  session: Session,
  { context, tokens, reruns, promptChunk, readContext, onRun }: DecodeRequest,
): Promise<DecodeTimes> {
  const { read, ...asked } = requestFor(session, context, readContext);
  if (!read) await session.fillCache(cacheSeed);
  const promptSteps = Math.ceil(asked.promptIds.length / promptChunk);
  const steps: number[] = [];
  const events: number[] = [];
  const firsts: number[] = [];
  const prompts: number[] = [];
  let expected: readonly number[] | undefined;
  let equal = 0;
  // One more than counts: the first launch also loads the kernel.
  for (let run = 0; run <= reruns; run++) {
    // Rows behind the context are written again by each launch, so all launches read the same.
    const { tokens: got, summary } = await launch(session, { ...asked, maxTokens: tokens });
    expected ??= got;
    onRun?.(run);
    if (run === 0) continue;
    if (got.every((id, i) => id === expected?.[i])) equal++;
    const times = stepMillis({ ...summary, promptSteps });
    if (times.tokens.length !== tokens - 1) throw noTimes(session, times.tokens.length, tokens - 1);
    steps.push(...times.tokens);
    prompts.push(...times.prompt);
    firsts.push(times.firstToken);
    if (times.byEvents !== null) events.push(times.byEvents);
  }
  return {
    ms: spreadOfTimes(steps),
    eventMs: events.length === 0 ? null : spreadOfTimes(events).p50,
    firstTokenMs: spreadOfTimes(firsts).p50,
    promptStepMs: prompts.length === 0 ? null : spreadOfTimes(prompts).p50,
    reruns, rerunsEqual: equal, read,
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
): Promise<Omit<DecodeTimes, "eventMs" | "promptStepMs">> {
  if (context > 0) await session.fillCache(cacheSeed);
  const promptIds = promptOf(promptChunk * (measuredSteps + 1), session.limits.vocab);
  const steps: number[] = [];
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
    steps.push(...times.prompt);
    firsts.push(times.firstToken);
  }
  const firstTokenMs = spreadOfTimes(firsts).p50;
  return { ms: spreadOfTimes(steps), firstTokenMs, reruns, rerunsEqual: equal, read: false };
}

/** Positions that a measurement needs. */
export const contextNeeded = (context: number, tokens: number, promptChunk: number): number =>
  promptChunk === 1
    ? Math.max(1, context) + tokens + 1
    : context + promptChunk * (measuredSteps + 1) + 1;
