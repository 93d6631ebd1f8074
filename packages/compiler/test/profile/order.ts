/** @file In which order a task's marks are, whichever of its threads made them. */
import type { InstructionTimes } from "@mpk/runtime";
import { expect } from "vitest";

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
