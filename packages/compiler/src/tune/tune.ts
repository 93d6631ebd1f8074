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
}

/** A gain that is smaller is noise: runs of one kernel differ by as much. */
const leastGain = 0.005;

/**
 * The best choice that gave the default's tokens, or the default.
 * @throws MpkError where the default itself does not run: there is nothing to compare with.
 */
export async function tune(request: TuneRequest): Promise<TuneResult> {
  if (request.tokens < 2) throw inputError("tuning needs at least 2 tokens", "ask for more");
  const end = request.now() + request.minutes * 60_000;
  const trials: Trial<Choice>[] = [];
  let outOfTime = false;
  const hasTime = () => {
    const has = request.now() < end && request.signal?.aborted !== true;
    outOfTime ||= !has;
    return has;
  };
  const defaults: Choice = {};
  const first = await evaluate(request, defaults, 3, null);
  let expected: readonly number[] | null = first.tokens;
  const search = (candidates: readonly Choice[]) => successiveHalving<Choice>({
    candidates,
    hasTime,
    async evaluate(choice, effort) {
      const { outcome, tokens } = await evaluate(request, choice, effort, expected).catch(refusal);
      expected ??= tokens;
      return outcome;
    },
    onTrial(trial, left) {
      trials.push(trial);
      request.onTrial?.(trial, left, Math.max(0, end - request.now()) / 60_000);
    },
  });
  const single = await search([defaults, ...(request.candidates ?? singleChanges())]);
  const base = timeOf(single, defaults) ?? first.ms;
  const helped = single.flatMap(({ candidate, ms }) =>
    candidate === defaults || ms >= base ? [] : [{ choice: candidate, gain: base - ms }]);
  const [front] = single.filter(({ candidate }) => candidate !== defaults);
  const finalists = [...(front === undefined ? [] : [front.candidate]), ...combinations(helped)];
  // The default runs again, beside those that would replace it.
  const both = finalists.length === 0 ? [] : await search([defaults, ...finalists]);
  return { ...choose(both, defaults, base), trials, outOfTime };
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
  const wins = best !== undefined && best.ms < defaultMs * (1 - leastGain);
  return wins
    ? { best: best.candidate, ms: best.ms, defaultMs }
    : { best: defaults, ms: defaultMs, defaultMs };
}

interface Evaluated {
  readonly outcome: Outcome;
  readonly ms: number;
  readonly tokens: readonly number[] | null;
}

const refused = (why: string): Evaluated => ({ outcome: { refused: why }, ms: NaN, tokens: null });

/** What a choice may fail with; anything else is a fault and ends the search. */
function refusal(error: unknown): Evaluated {
  if (error instanceof VerificationError) return refused(`breaks a law: ${messageOf(error)}`);
  if (error instanceof PlanError || error instanceof MpkError) return refused(messageOf(error));
  throw error;
}

/** Opens a choice, and times `effort` launches after one that only warms up. */
async function evaluate(
  request: TuneRequest,
  choice: Choice,
  effort: number,
  expected: readonly number[] | null,
): Promise<Evaluated> {
  const { context, tokens: maxTokens } = request;
  const opened = await request.open(choice);
  try {
    const { session, promptChunk } = opened;
    const promptIds = promptOf(context, session.limits.vocab);
    const promptSteps = Math.ceil(context / promptChunk);
    const times: number[] = [];
    let first = expected;
    for (let run = 0; run <= effort; run++) {
      const generation = session.generate({ promptIds, maxTokens, eosIds: [], stamps: true });
      const tokens: number[] = [];
      for await (const id of generation) tokens.push(id);
      first ??= tokens;
      if (tokens.join() !== first.join()) {
        return refused(`${choiceText(choice)} gives other tokens than the defaults`);
      }
      if (run > 0) times.push(...stepMillis({ ...generation.summary(), promptSteps }).tokens);
    }
    if (times.length === 0) throw inputError(`${session.device.name} keeps no times`, "use a GPU");
    const ms = spreadOfTimes(times).p50;
    return { outcome: { ms }, ms, tokens: first };
  } finally {
    await opened.close();
  }
}
