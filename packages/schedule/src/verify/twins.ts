/** @file Events with the very same triggers, so that their clocks are kept once. Pure. */
import type { Model } from "./model.ts";

/**
 * By event, the first that is triggered by the very same tasks, as often, and counts the same steps:
 * a counter for each rank that waits has the same triggers, and so the same clocks.
 */
export function findTwins({ plan, slots, slotTask }: Model, triggers: Int32Array): Int32Array {
  const { events, signals } = plan;
  const by = Array.from(triggers, (count) => new Int32Array(count));
  const filled = new Int32Array(events.count);
  for (let slot = 0; slot < slots; slot++) {
    const task = slotTask[slot] ?? -1;
    for (let i = signals.start[task] ?? 0; i < (signals.start[task + 1] ?? 0); i++) {
      const event = signals.items[i] ?? -1;
      const at = filled[event] ?? 0;
      filled[event] = at + 1;
      const list = by[event];
      if (list !== undefined) list[at] = slot;
    }
  }
  const known = new Map<string, number[]>();
  return Int32Array.from(by, (list, event) => {
    const key = `${list.length} ${list[0]} ${list.at(-1)} ${events.manyOnly[event]}`;
    const alike = known.get(key) ?? [];
    known.set(key, alike);
    const twin = alike.find((other) => by[other]?.every((slot, i) => slot === list[i]));
    if (twin === undefined) alike.push(event);
    return twin ?? event;
  });
}
