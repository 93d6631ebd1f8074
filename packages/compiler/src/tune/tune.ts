/** @file Searches the planner's knobs on the machine at hand, over verified plans only. */
import { inputError, MpkError, messageOf, type Session } from "@mpk/runtime";
import { PlanError } from "@mpk/schedule";
import { promptOf } from "../bench/measure.ts";
import { spreadOfTimes, stepMillis } from "../bench/statistics.ts";
import { VerificationError } from "../compile.ts";
import { successiveHalving, type Outcome, type Ranked, type Trial } from "./halving.ts";
import { choiceText, combinations, singleChanges, type Choice } from "./knobs.ts";

/** A model opened with some choice. */
export interface OpenedChoice {
  readonly session: Session;
  readonly promptChunk: number;
  close(): Promise<void>;
}

export interface TuneRequest {
  /** Compiles, verifies and opens; throws where a choice makes no plan, or breaks a law. */
  open(choice: Choice): Promise<OpenedChoice>;
  /**
   * Builds the kernels of many choices at once; gives those that can be opened without waiting for a
   * compiler. Default: all can.
   */
  prepare?(choices: readonly Choice[], mostSeconds: number): Promise<readonly Choice[]>;
  readonly minutes: number;
  /** Prompt tokens, and decoded ones of a launch. */
  readonly context: number;
  readonly tokens: number;
  /** Milliseconds, such as performance.now(). */
  readonly now: () => number;
  readonly signal?: AbortSignal;
  readonly candidates?: readonly Choice[];
  readonly onTrial?: (trial: Trial<Choice>, left: number, minutesLeft: number) => void;
}

export interface TuneResult {
  readonly best: Choice;
  readonly ms: number;
  readonly defaultMs: number;
  readonly trials: readonly Trial<Choice>[];
  /** Not all candidates were tried. */
  readonly outOfTime: boolean;
  /** What ended the search early: after it the GPU gives this process no more answers. */
  readonly fault: string | null;
}

/** A gain that is smaller is noise: runs of one kernel differ by as much. */
const leastGain = 0.005;
/** After one launch of each: its median moves more than that of several. */
const leastGainOfOne = 0.015;
/** There are exponentially many; the most promising come first. */
const mostCombinations = 8;

/** Share of what time is left that building kernels may take. */
const buildShare = 0.5;

/**
 * The best choice that gave the default's tokens, or the default.
 * @throws MpkError where the default itself does not run: there is nothing to compare with.
 */
export async function tune(request: TuneRequest): Promise<TuneResult> {
  if (request.tokens < 2) throw inputError("tuning needs at least 2 tokens", "ask for more");
  const end = request.now() + request.minutes * 60_000;
  const trials: Trial<Choice>[] = [];
  let outOfTime = false;
  let longest = 0;
  let fault: string | null = null;
  // A trial begins only where the longest so far would still end in time.
  const hasTime = () => {
    const has = request.now() + longest < end && request.signal?.aborted !== true && fault === null;
    outOfTime ||= !has;
    return has;
  };
  const timed = async <T>(work: () => Promise<T>): Promise<T> => {
    const from = request.now();
    return work().finally(() => (longest = Math.max(longest, request.now() - from)));
  };
  const prepared = async (choices: readonly Choice[]): Promise<readonly Choice[]> => {
    const seconds = ((end - request.now()) / 1000) * buildShare;
    if (request.prepare === undefined || seconds <= 0) return choices;
    const ready = await request.prepare(choices, seconds);
    outOfTime ||= ready.length < choices.length;
    return ready;
  };
  const defaults: Choice = {};
  const candidates = await prepared([defaults, ...(request.candidates ?? singleChanges())]);
  const first = await evaluate(request, defaults, 3, null);
  let expected: Answer | null = first.answer;
  const search = (field: readonly Choice[]) => successiveHalving<Choice>({
    candidates: field,
    hasTime,
    async evaluate(choice, effort) {
      const { outcome, answer } = await timed(() =>
        evaluate(request, choice, effort, expected).catch((error: unknown) => {
          if (isFault(error)) fault = messageOf(error);
          return refusal(error);
        }));
      expected ??= answer;
      return outcome;
    },
    onTrial(trial, left) {
      trials.push(trial);
      request.onTrial?.(trial, left, Math.max(0, end - request.now()) / 60_000);
    },
  });
  const single = await search([defaults, ...candidates.filter((choice) => choice !== defaults)]);
  const base = timeOf(single, defaults) ?? first.ms;
  const helped = single.flatMap(({ candidate, ms }) =>
    candidate === defaults || ms >= base ? [] : [{ choice: candidate, gain: base - ms }]);
  const [front] = single.filter(({ candidate }) => candidate !== defaults);
  const together = combinations(helped).slice(0, mostCombinations);
  const built = together.length === 0 || !hasTime() ? [] : await prepared(together);
  const finalists = [...(front === undefined ? [] : [front.candidate]), ...built];
  // The default runs again, beside those that would replace it.
  const both = finalists.length === 0 ? [] : await search([defaults, ...finalists]);
  // Where time ended before that, what was measured as long as the default beside it counts.
  const decided = choose(both.length > 1 ? both : single, defaults, base);
  return { ...decided, trials, outOfTime, fault };
}

const timeOf = (ranked: readonly Ranked<Choice>[], choice: Choice): number | undefined =>
  ranked.find(({ candidate }) => candidate === choice)?.ms;

/** Only what was measured as long as the default may replace it. */
function choose(ranked: readonly Ranked<Choice>[], defaults: Choice, base: number) {
  const own = ranked.find(({ candidate }) => candidate === defaults);
  const defaultMs = own?.ms ?? base;
  const least = own?.effort ?? Infinity;
  const [best] = ranked
    .filter(({ candidate, effort }) => candidate !== defaults && effort >= least)
    .sort((a, b) => a.ms - b.ms);
  const gain = best !== undefined && best.effort > 1 ? leastGain : leastGainOfOne;
  const wins = best !== undefined && best.ms < defaultMs * (1 - gain);
  return wins
    ? { best: best.candidate, ms: best.ms, defaultMs }
    : { best: defaults, ms: defaultMs, defaultMs };
}

/** One launch's tokens, and their logits where the device keeps them. */
export interface Answer {
  readonly tokens: readonly number[];
  readonly logits: readonly Float32Array[];
}

interface Evaluated {
  readonly outcome: Outcome;
  readonly ms: number;
  readonly answer: Answer | null;
}

const refused = (why: string): Evaluated => ({ outcome: { refused: why }, ms: NaN, answer: null });

/** What a choice may fail with; anything else is a fault of ours and ends the search. */
function refusal(error: unknown): Evaluated {
  if (error instanceof VerificationError) return refused(`breaks a law: ${messageOf(error)}`);
  if (error instanceof PlanError || error instanceof MpkError) return refused(messageOf(error));
  throw error;
}

/** Whether a kernel faulted, so that every later call of the driver in this process fails. */
const isFault = (error: unknown): boolean =>
  error instanceof MpkError && error.category === "runtime" && /restart the process/.test(error.fix);

/**
 * Relative L2 error between two right answers, at most: other sums round other activations, which costs
 * about what bf16 does, a percent or two; a wrong chunk costs about 1. An estimate in between.
 */
const mostError = 0.05;

/**
 * Why an answer is not the default's, or null. Plans add up in other orders, so two right ones may part
 * where the two best logits are as near as their errors: up to there, logits are held to each other.
 */
export function otherAnswer(expected: Answer, got: Answer): string | null {
  const parts = expected.tokens.findIndex((id, i) => id !== got.tokens[i]);
  if (parts < 0 && got.tokens.length === expected.tokens.length) return null;
  const [own, other] = [expected.logits, got.logits];
  if (own.length <= parts || other.length <= parts) return "gives other tokens than the defaults";
  let [error, norm, largest] = [0, 0, 0];
  for (let row = 0; row <= parts; row++) {
    own[row]?.forEach((value, i) => {
      const difference = (other[row]?.[i] ?? NaN) - value;
      error += difference * difference;
      norm += value * value;
      largest = Math.max(largest, Math.abs(difference));
    });
  }
  const relative = Math.sqrt(error / norm);
  if (!(relative <= mostError)) {
    return `gives other logits than the defaults: ${(relative * 100).toFixed(1)} % off`;
  }
  const gap = (own[parts]?.[expected.tokens[parts] ?? 0] ?? 0) - (own[parts]?.[got.tokens[parts] ?? 0] ?? 0);
  return gap <= 2 * largest ? null : `chooses another token than the defaults where none is near`;
}

/** Opens a choice, and times `effort` launches after one that only warms up and gives its logits. */
async function evaluate(
  request: TuneRequest,
  choice: Choice,
  effort: number,
  expected: Answer | null,
): Promise<Evaluated> {
  const { context, tokens: maxTokens } = request;
  const opened = await request.open(choice);
  try {
    const { session, promptChunk } = opened;
    const promptIds = promptOf(context, session.limits.vocab);
    const promptSteps = Math.ceil(context / promptChunk);
    const times: number[] = [];
    let answer: Answer | null = null;
    for (let run = 0; run <= effort; run++) {
      const kept = run === 0 ? { logits: "all" as const } : {};
      const generation = session.generate({ promptIds, maxTokens, eosIds: [], stamps: true, ...kept });
      const tokens: number[] = [];
      for await (const id of generation) tokens.push(id);
      const summary = generation.summary();
      if (answer === null) {
        answer = { tokens, logits: summary.logits };
        const why = expected === null ? null : otherAnswer(expected, answer);
        if (why !== null) return refused(`${choiceText(choice)} ${why}`);
        continue;
      }
      if (tokens.join() !== answer.tokens.join()) {
        return refused(`${choiceText(choice)} gives other tokens from launch to launch`);
      }
      times.push(...stepMillis({ ...summary, promptSteps }).tokens);
    }
    if (times.length === 0) throw inputError(`${session.device.name} keeps no times`, "use a GPU");
    const ms = spreadOfTimes(times).p50;
    return { outcome: { ms }, ms, answer };
  } finally {
    await opened.close();
  }
}
