/** @file The same generation again and again, alone and beside other kernels: the same tokens? */
import type { Session } from "@mpk/runtime";
import { promptOf } from "../bench/measure.ts";
import { digestOf, runRequest } from "./generate.ts";

export interface RepeatRequest {
  readonly reruns: number;
  readonly promptTokens: number;
  readonly tokens: number;
  /** Whether other kernels run beside. */
  readonly beside: boolean;
  /** Every so many reruns, all logits are compared too, to the last bit. */
  readonly logitsEvery: number;
  /** Milliseconds, such as performance.now(). */
  readonly now: () => number;
  /** Stops early, which the result tells. */
  readonly mostMillis: number;
  readonly signal?: AbortSignal;
  readonly onRun?: (done: number) => void;
}

export interface RepeatResult {
  readonly reruns: number;
  readonly equal: number;
  /** Of them, those whose logits were compared too. */
  readonly withLogits: number;
  /** The first rerun that gave something else; null: none. */
  readonly firstOther: number | null;
  /** Other kernels that ended while generations ran. */
  readonly kernelsBeside: number;
  readonly millis: number;
  /** Of the greedy tokens; to compare with other machines. */
  readonly digest: string;
}

/** Greedy and sampled generations in turns: both choices are exercised. */
const sampling = (run: number) => run % 2 === 0
  ? { temperature: 0 } : { temperature: 0.9, topK: 50, topP: 0.95, seed: 11n };

/**
 * Runs the same two generations in turns, `reruns` times after a first time of both. Every one must
 * give what its first time gave.
 */
export async function repeat(session: Session, asked: RepeatRequest): Promise<RepeatResult> {
  const promptIds = promptOf(asked.promptTokens, session.limits.vocab);
  const first: Record<string, string> = {};
  const start = asked.now();
  const crowd = asked.beside ? session.crowd() : null;
  let [reruns, equal, withLogits, kernelsBeside] = [0, 0, 0, 0];
  let firstOther: number | null = null;
  try {
    // The first four are what the others are held to: greedy and sampled, with logits and without.
    for (let run = -4; run < asked.reruns; run++) {
      if (asked.signal?.aborted === true || asked.now() - start > asked.mostMillis) break;
      const wantsLogits = run < -2 || (run >= 0 && Math.floor(run / 2) % asked.logitsEvery === 0);
      const before = crowd?.finished() ?? 0;
      const { tokens, summary } = await runRequest(session, {
        promptIds, maxTokens: asked.tokens, eosIds: [], sampling: sampling(run & 1),
        logits: wantsLogits ? "all" : "none",
      });
      kernelsBeside += (crowd?.finished() ?? 0) - before;
      const kind = `${run & 1} ${wantsLogits}`;
      const digest = digestOf(tokens, summary?.logits);
      first[kind] ??= digest;
      if (run < 0) continue;
      reruns++;
      if (wantsLogits) withLogits++;
      if (digest === first[kind]) equal++;
      else firstOther ??= run;
      asked.onRun?.(reruns);
    }
  } finally {
    await crowd?.stop();
  }
  const digest = first["0 false"] ?? "";
  const millis = asked.now() - start;
  return { reruns, equal, withLogits, firstOther, kernelsBeside, millis, digest };
}
