/** @file Which passes a model goes through: those of every model, and those that its limits ask for. */
import { passesOfSteps, roundAttended, splitAttention, type Pass, type Program } from "@mpk/ir";
import type { Machine } from "@mpk/schedule";

/**
 * How attention is scheduled. `whole`: one op, a task a query head. `split`: parts of the context on
 * about all SMs, then a merge. `auto`: `split` where the limits allow long contexts.
 */
export const attentionChoices = ["auto", "whole", "split"] as const;
export type AttentionChoice = (typeof attentionChoices)[number];

/**
 * The longest context that models get unless asked otherwise. On an H200 whole is faster at 64
 * positions (Qwen3-8B 3.48 ms a token against 3.62, Llama-3.2-1B 0.618 against 0.633), split at 512
 * (3.67 against 3.71, 0.649 against 0.672) and beyond: a program made for no long context keeps the
 * times of short ones.
 */
const longestWhole = 4096;

/** The passes for a program with these limits on a machine, in order. */
export function passesFor(
  limits: Program["limits"],
  machine: Machine,
  choice: AttentionChoice = "auto",
): readonly Pass[] {
  const isSplit = choice === "split" || (choice === "auto" && limits.maxContext > longestWhole);
  const passes = passesOfSteps(limits);
  // The parts of a context are added up before anything is rounded.
  if (isSplit) return [...passes.filter((pass) => pass !== roundAttended), splitAttention(machine.sms)];
  return passes;
}
