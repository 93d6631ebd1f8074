/** @file A schedule to test: ours with the SMs numbered backwards, and one that forgets to wait. */
import type { Program } from "@mpk/ir";
import { plan, virtual } from "@mpk/schedule";
import type { Plan } from "@mpk/schedule";
import { toyTable } from "@mpk/schedule/testing";

const sms = 4;

/** The last SM does what the first would have done. */
export function mirrored(program: Program): Plan {
  const made = plan(program, toyTable, virtual(sms));
  const { start, items } = made.order;
  const lists = Array.from({ length: sms }, (_, sm) => [
    ...items.subarray(start[sms - 1 - sm], start[sms - sm]),
  ]);
  let end = 0;
  return {
    ...made,
    tasks: { ...made.tasks, sm: made.tasks.sm.map((sm) => sms - 1 - sm) },
    order: {
      start: Int32Array.from([0, ...lists.map((list) => (end += list.length))]),
      items: Int32Array.from(lists.flat()),
    },
    streams: [...made.streams].reverse(),
  };
}

/** Trusts that whatever it needs is long done. */
export function hasty(program: Program): Plan {
  const made = plan(program, toyTable, virtual(sms));
  const noWaits = { start: made.waits.start.map(() => 0), items: new Int32Array() };
  return { ...made, waits: noWaits };
}
