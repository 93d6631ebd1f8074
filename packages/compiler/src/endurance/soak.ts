/** @file Random prompts, lengths and ends for as long as asked, watched for anything that changes. */
import { messageOf, type GenerateRequest, type Session } from "@mpk/runtime";
import { promptOf } from "../bench/measure.ts";
import { digestOf, relativeDistance, runRequest, type Ran } from "./generate.ts";
import { growthOf, mostGrowth, type MemorySample } from "./memory.ts";
import { requestOf } from "./requests.ts";
import { rowOf, sampleOf, type SoakState } from "./state.ts";

export interface SoakRequest {
  /** Tokens of all parts together. */
  readonly tokens: number;
  /** Of this part: it ends at the next generation's end. */
  readonly mostMillis: number;
  /** Of so many tokens, one has its logits checked. */
  readonly checkEvery: number;
  /** Milliseconds, such as performance.now(). */
  readonly now: () => number;
  readonly memory: () => MemorySample;
  readonly signal?: AbortSignal;
  readonly onState?: (state: SoakState) => void;
}

/** Generations between two of the canary, and between two looks at memory. */
const canaryEvery = 50;
const memoryEvery = 10;
/** Generations of a part before memory is looked at: caches fill first. */
const warmUp = 50;
/** Two ways to one token round differently; a stale row or a lost word shows more than this. */
export const mostError = 0.05;
/** Larger vocabularies are not kept for a reference. */
const mostVocabKept = 8192;
/** Failures that are kept in words. */
const mostFailures = 20;

/** Adds one part to a soak. The session stays open. */
export async function soakPart(
  session: Session,
  before: SoakState,
  asked: SoakRequest,
): Promise<SoakState> {
  const start = asked.now();
  const samples: MemorySample[] = [];
  let state: SoakState = { ...before, parts: before.parts + 1 };
  const failures = [...before.failures];
  const fail = (what: string): void => {
    if (failures.length < mostFailures) failures.push(`generation ${state.generations}: ${what}`);
  };
  const tell = (): void => asked.onState?.({ ...state, failures: [...failures] });
  const hasTime = (): boolean =>
    asked.signal?.aborted !== true && asked.now() - start < asked.mostMillis;
  try {
    while (state.tokens < asked.tokens && hasTime()) {
      const done = state.generations - before.generations;
      if (done % canaryEvery === 0) state = await canary(session, state, fail);
      state = await oneGeneration(session, state, asked.checkEvery, fail);
      if (done >= warmUp && done % memoryEvery === 0) samples.push(asked.memory());
      if (done % canaryEvery === 0) tell();
    }
  } catch (error) {
    fail(messageOf(error));
  }
  const grown = growthOf(samples);
  if (grown.host > mostGrowth.host) fail(`the process grew by ${grown.host} bytes in part ${state.parts}`);
  if (grown.device > mostGrowth.device) {
    fail(`${grown.device} bytes of device memory were lost in part ${state.parts}`);
  }
  const growth = {
    host: Math.max(state.growth.host, grown.host), device: Math.max(state.growth.device, grown.device),
  };
  state = { ...state, growth, failures, millis: state.millis + asked.now() - start };
  tell();
  return state;
}

const canaryPrompt = 24;
const canaryTokens = 48;

/** The same request must give the same tokens and logits, also in other parts. It is not counted. */
async function canary(
  session: Session,
  state: SoakState,
  fail: (what: string) => void,
): Promise<SoakState> {
  const { vocab, maxContext } = session.limits;
  const prompt = Math.min(canaryPrompt, maxContext >> 1);
  const { tokens, summary } = await runRequest(session, {
    promptIds: promptOf(prompt, vocab), eosIds: [], logits: "lastPrompt",
    maxTokens: Math.min(canaryTokens, maxContext - prompt),
  });
  const digest = digestOf(tokens, summary?.logits);
  if (state.canary !== null && state.canary !== digest) fail("the canary's tokens or logits changed");
  return { ...state, canaries: state.canaries + 1, canary: state.canary ?? digest };
}

async function oneGeneration(
  session: Session,
  state: SoakState,
  checkEvery: number,
  fail: (what: string) => void,
): Promise<SoakState> {
  const { request, ending } = requestOf(state.seed, state.generations, session.limits);
  // Whether the next token to check can be this generation's, and which of them it is.
  const due = checkEvery - (state.tokens % checkEvery);
  const isCheck = request.maxTokens >= due;
  const ran = isCheck
    ? await runRequest(session, { ...request, maxTokens: due, logits: "all" })
    : await runRequest(session, request, ending);
  const { tokens } = ran;
  const how = ran.summary?.finish ?? "left";
  const after: SoakState = {
    ...state, tokens: state.tokens + tokens.length, generations: state.generations + 1,
    endings: { ...state.endings, [how]: (state.endings[how] ?? 0) + 1 },
  };
  const bad = tokens.find((id) => !(id >= 0 && id < session.limits.vocab));
  if (bad !== undefined) fail(`token ${bad} is outside the vocabulary`);
  const isDue = isCheck && tokens.length === due;
  return isDue ? check(session, after, request, ran, fail) : after;
}

/**
 * The last token's logits are those of the same tokens read as a prompt, many a step; and the token is
 * one that its request allows.
 */
async function check(
  session: Session,
  state: SoakState,
  { promptIds, sampling }: Pick<GenerateRequest, "promptIds" | "sampling">,
  { tokens, summary }: Ran,
  fail: (what: string) => void,
): Promise<SoakState> {
  const row = summary?.logits.at(-1) ?? new Float32Array(0);
  const token = tokens.at(-1) ?? -1;
  const { temperature = 0, topK = 0 } = sampling ?? {};
  const most = temperature === 0 ? 1 : topK === 0 ? Infinity : topK;
  const larger = row.reduce((count, value) => count + (value > (row[token] ?? NaN) ? 1 : 0), 0);
  if (larger >= most) fail(`token ${token} was chosen though ${larger} are likelier`);
  const ids = [...promptIds, ...tokens.slice(0, -1)];
  const again = await runRequest(session, {
    promptIds: ids, maxTokens: 1, eosIds: [], logits: "lastPrompt",
  });
  const error = relativeDistance(row, again.summary?.logits[0] ?? new Float32Array(1));
  if (!(error <= mostError)) {
    fail(`logits are ${error} from those of the same ${ids.length} tokens read as a prompt`);
  }
  const isKept = session.limits.vocab <= mostVocabKept;
  return {
    ...state, checked: state.checked + 1,
    worstError: Number.isNaN(error) ? state.worstError : Math.max(state.worstError, error),
    samples: isKept ? [...state.samples, sampleOf(state.generations - 1, ids, row)] : state.samples,
  };
}

/** Compares kept logits with a reference's, such as the virtual GPU's in float32. */
export async function compareSamples(
  reference: Session,
  before: SoakState,
  asked: Pick<SoakRequest, "mostMillis" | "now" | "signal" | "onState">,
): Promise<SoakState> {
  const start = asked.now();
  const samples = [...before.samples];
  const failures = [...before.failures];
  for (const [i, sample] of samples.entries()) {
    if (sample.error !== null) continue;
    if (asked.signal?.aborted === true || asked.now() - start > asked.mostMillis) break;
    const { summary } = await runRequest(reference, {
      promptIds: sample.ids, maxTokens: 1, eosIds: [], logits: "lastPrompt",
    });
    const distance = relativeDistance(rowOf(sample), summary?.logits[0] ?? new Float32Array(1));
    const error = Number.isNaN(distance) ? Number.MAX_VALUE : distance;
    samples[i] = { ...sample, error };
    if (error > mostError) {
      failures.push(`generation ${sample.generation}: logits are ${error} from the reference's`);
    }
    asked.onState?.({ ...before, samples, failures });
  }
  return { ...before, samples, failures };
}
