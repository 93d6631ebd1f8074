/** @file Who touches a value where, as the race checks need it. Pure. */
import type { Span } from "./coverage.ts";
import type { Model, StateAccess } from "./model.ts";

/** Per SM, how many of its slots must be done for the last touch of a step to be done; 0: none. */
export type Places = Int32Array;

export interface ValueTouches {
  /** Sorted by first column. */
  readonly writes: Span[];
  readonly reads: Span[];
  readonly lastWrite: Places;
  readonly lastTouch: Places;
}

export interface Touches {
  /** By base value; absent where nothing touches it. */
  readonly values: readonly (ValueTouches | undefined)[];
  /** By state value id. */
  readonly states: ReadonlyMap<number, readonly (StateAccess & { readonly slot: number })[]>;
  /** 1 + position of a slot in its SM's order. */
  readonly place: Int32Array;
}

export function collectTouches(model: Model): Touches {
  const { plan, slotSm } = model;
  const { sms } = plan.machine;
  const values: (ValueTouches | undefined)[] = [];
  const states = new Map<number, (StateAccess & { slot: number })[]>();
  const place = new Int32Array(model.slots);
  const touch = (value: number): ValueTouches =>
    (values[value] ??= {
      writes: [], reads: [], lastWrite: new Int32Array(sms), lastTouch: new Int32Array(sms),
    });
  for (let slot = 0; slot < model.slots; slot++) {
    const sm = slotSm[slot] ?? 0;
    // Slots ascend within an SM, so the last one assigned is the latest.
    const at = slot - (plan.order.start[sm] ?? 0) + 1;
    place[slot] = at;
    for (const { value, lo, hi } of model.reads(slot)) {
      const mine = touch(value);
      mine.reads.push({ lo, hi, slot });
      mine.lastTouch[sm] = at;
    }
    for (const { value, lo, hi } of model.writes(slot)) {
      const mine = touch(value);
      mine.writes.push({ lo, hi, slot });
      mine.lastWrite[sm] = at;
      mine.lastTouch[sm] = at;
    }
    for (const access of model.states(slot)) {
      const list = states.get(access.state) ?? [];
      list.push({ ...access, slot });
      states.set(access.state, list);
    }
  }
  for (const value of values) value?.writes.sort((a, b) => a.lo - b.lo);
  return { values, states, place };
}
