/** @file Which passes a model goes through: those of every model, and those that its limits ask for. */
import { defaultPasses, splitAttention, type Pass, type Program } from "@mpk/ir";
import type { Machine } from "@mpk/schedule";

/**
 * How attention is scheduled. `whole`: one op, a task a query head. `split`: parts of the context on
 * about all SMs, then a merge. `auto`: `split` where the limits allow long contexts.
 */
export const attentionChoices = ["auto", "whole", "split"] as const;
export type AttentionChoice = (typeof attentionChoices)[number];

/** Up to here one SM reads a head's keys about as fast as the merge's hand-off takes: an estimate. */
const longestWhole = 1024;

/** The passes for a program with these limits on a machine, in order. */
export function passesFor(
  { maxContext }: Program["limits"],
  machine: Machine,
  choice: AttentionChoice = "auto",
): readonly Pass[] {
  const isSplit = choice === "split" || (choice === "auto" && maxContext > longestWhole);
  return isSplit ? [...defaultPasses, splitAttention(machine.sms)] : defaultPasses;
}
