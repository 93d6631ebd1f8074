/** @file Random generations by number: the same seed and number ask the same on any machine. Pure. */
import type { GenerateRequest, SessionLimits } from "@mpk/runtime";

/** How a generation is to end, besides its tokens running out. */
export type Ending =
  | { readonly kind: "tokens" }
  /** The request's signal is aborted after so many tokens. */
  | { readonly kind: "abort"; readonly after: number }
  /** The reader leaves its loop after so many tokens. */
  | { readonly kind: "leave"; readonly after: number };

export interface RandomRequest {
  readonly request: Required<Pick<GenerateRequest, "promptIds" | "maxTokens" | "sampling">> &
    Pick<GenerateRequest, "eosIds">;
  readonly ending: Ending;
}

/** Whole numbers below `below`, by splitmix32: one stream a seed and number. */
export function streamOf(seed: number, number: number): (below: number) => number {
  let state = (Math.imul(seed, 0x9e3779b9) ^ Math.imul(number + 1, 0x85ebca6b)) >>> 0;
  return (below) => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state ^ (state >>> 16);
    z = Math.imul(z, 0x21f0aaad);
    z ^= z >>> 15;
    z = Math.imul(z, 0x735a2d97);
    z ^= z >>> 15;
    return Math.floor(((z >>> 0) / 2 ** 32) * below);
  };
}

/** Of all generations, one in so many reads the model's EOS ids, is sampled, is aborted, is left. */
const oneIn = { eos: 4, sampled: 2, abort: 10, leave: 10 } as const;

/** Generation `number`: prompt, length, sampling and end are drawn; long ones are rarer. */
export function requestOf(seed: number, number: number, limits: SessionLimits): RandomRequest {
  const draw = streamOf(seed, number);
  const skewed = (most: number): number => 1 + Math.min(draw(most), draw(most));
  const promptLength = skewed(Math.max(1, limits.maxContext - 2));
  const promptIds = Array.from({ length: promptLength }, () => draw(limits.vocab));
  const maxTokens = 1 + draw(limits.maxContext - promptLength);
  const isSampled = draw(oneIn.sampled) === 0;
  const sampling = {
    temperature: isSampled ? 0.5 + draw(16) / 10 : 0,
    topK: isSampled && draw(2) === 0 ? 1 + draw(100) : 0,
    topP: isSampled && draw(2) === 0 ? 0.5 + draw(50) / 100 : 1,
    seed: BigInt(draw(2 ** 31)),
  };
  const readsEos = draw(oneIn.eos) === 0;
  const request = { promptIds, maxTokens, sampling, ...(readsEos ? {} : { eosIds: [] }) };
  const after = 1 + draw(maxTokens);
  const isAborted = draw(oneIn.abort) === 0;
  const isLeft = draw(oneIn.leave) === 0;
  const kind = isAborted ? "abort" : isLeft ? "leave" : "tokens";
  return { request, ending: kind === "tokens" ? { kind } : { kind, after } };
}
