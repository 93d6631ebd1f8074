/** @file Which passes a model goes through: those of every model, and those that its limits ask for. */
import {
  fewTokens, passesOfSteps, roundAttended, splitAttention, type Pass, type Program,
} from "@mpk/ir";
import type { Machine } from "@mpk/schedule";

/**
 * How attention is scheduled. `whole`: one op, a task a query head. `split`: parts of the context on
 * about all SMs, then a merge. `auto`: `split` where the limits allow long contexts.
 */
export const attentionChoices = ["auto", "whole", "split"] as const;
export type AttentionChoice = (typeof attentionChoices)[number];

/**
 * The longest context at which a program keeps heads whole. On an H200 whole is faster behind 64
 * tokens (Qwen3-8B 3.48 ms a token against 3.62, Qwen3-0.6B 0.425 against 0.512), split behind 1,024
 * (3.61 against 3.85, 0.523 against 0.793), and as fast at the end of what it allows as at its beginning.
 */
const longestWhole = 1024;
/** Steps of more than a few tokens are timed with whole heads up to here: prompts of 2,048 tokens. */
const longestWholeOfMany = 4096;

/** The passes for a program with these limits on a machine, in order. */
export function passesFor(
  limits: Program["limits"],
  machine: Machine,
  choice: AttentionChoice = "auto",
): readonly Pass[] {
  const longest = limits.maxTokens > fewTokens ? longestWholeOfMany : longestWhole;
  const isSplit = choice === "split" || (choice === "auto" && limits.maxContext > longest);
  const passes = passesOfSteps(limits);
  // The parts of a context are added up before anything is rounded.
  if (isSplit) return [...passes.filter((pass) => pass !== roundAttended), splitAttention(machine.sms)];
  return passes;
}
