/** @file Kept steps of a small checkpoint, and in which order a task's marks are in them. */
import type { InstructionTimes } from "@mpk/runtime";
import { expect } from "vitest";
import type { Opened } from "../../src/index.ts";

/** Six tokens behind three; with `profile`, the fourth step and the two after it are kept. */
export async function generate(opened: Opened, profile: boolean) {
  const wanted = { firstStep: 3, steps: 3 };
  const generation = opened.session.generate({
    promptIds: [1, 2, 3], maxTokens: 6, eosIds: [], ...(profile ? { profile: wanted } : {}),
  });
  const tokens: number[] = [];
  for await (const id of generation) tokens.push(id);
  return { tokens, profile: generation.summary().profile };
}

/**
 * Several threads mark: what one of them has done before the other is in order. A warp may be a task
 * ahead of another, and waits for weights before the task's inputs are there. `last`: the end of the
 * SM's task before.
 */
export function expectInOrder(
  last: number, { start, ready, asked, data, consumed, end }: InstructionTimes,
): void {
  for (const inner of [[last, start, ready, end], [start, asked, consumed], [data, consumed]]) {
    const marks = inner.filter((each) => each !== null);
    expect(marks).toEqual(marks.toSorted((a, b) => a - b));
  }
}
