/** @file Ways to break a plan at a random place, to try a verifier or a plan's own tests on. */
import fc from "fast-check";
import type { IdLists, Placement, Plan, StreamSegment } from "../plan.ts";
import { toIdLists } from "../planner/events.ts";
import { planStreams } from "../planner/streams.ts";

/** A number in [0, n), drawn anew at each call. */
export type Pick = (n: number) => number;

/** A broken copy, or null where the plan has no place to break like this. */
export type Mutation = (plan: Plan, pick: Pick) => Plan | null;

function listsOf({ start, items }: IdLists): number[][] {
  return Array.from({ length: start.length - 1 }, (_, i) => [
    ...items.subarray(start[i], start[i + 1]),
  ]);
}

/** One entry of all lists: which list, and where in it. */
function pickEntry(lists: readonly number[][], pick: Pick): { list: number[]; at: number } | null {
  const places = lists.flatMap((list) => list.map((_, at) => ({ list, at })));
  return places.length === 0 ? null : (places[pick(places.length)] ?? null);
}

function editLists(
  key: "waits" | "signals",
  change: (list: number[], at: number, plan: Plan, pick: Pick) => void,
): Mutation {
  return (plan, pick) => {
    const lists = listsOf(plan[key]);
    const entry = pickEntry(lists, pick);
    if (entry === null) return null;
    change(entry.list, entry.at, plan, pick);
    return { ...plan, [key]: toIdLists(lists) };
  };
}

/** A new order; streams follow it, so that only the order is at fault. */
function withOrder(plan: Plan, order: readonly number[][], sm = plan.tasks.sm): Plan {
  const tasks = { ...plan.tasks, sm };
  const lists = toIdLists(order);
  const assigned = { tasks, order: lists, opStart: new Int32Array() };
  const streams = planStreams(assigned, plan.layouts, plan.machine.sms);
  return { ...plan, tasks, order: lists, streams };
}

function editOrder(change: (list: number[], at: number) => void): Mutation {
  return (plan, pick) => {
    const order = listsOf(plan.order);
    const entry = pickEntry(order, pick);
    if (entry === null) return null;
    change(entry.list, entry.at);
    return withOrder(plan, order);
  };
}

function editEvent(change: (plan: Plan, event: number) => Partial<Plan["events"]>): Mutation {
  return (plan, pick) => {
    if (plan.events.count === 0) return null;
    return { ...plan, events: { ...plan.events, ...change(plan, pick(plan.events.count)) } };
  };
}

function addThreshold(by: number): Mutation {
  return editEvent(({ events }, event) => ({
    threshold: events.threshold.map((x, i) => (i === event ? Math.max(0, x + by) : x)),
  }));
}

function editFlags(change: (plan: Plan, pick: Pick) => Partial<Plan["flags"]> | null): Mutation {
  return (plan, pick) => {
    const changed = plan.flags.value.length === 0 ? null : change(plan, pick);
    return changed === null ? null : { ...plan, flags: { ...plan.flags, ...changed } };
  };
}

function editPlacement(
  isSite: (place: Placement) => boolean,
  change: (place: Placement, plan: Plan, pick: Pick) => Placement,
): Mutation {
  return (plan, pick) => {
    const sites = [...plan.placements.keys()].filter((value) => {
      const place = plan.placements[value];
      return place !== undefined && isSite(place);
    });
    const site = sites[pick(Math.max(1, sites.length))];
    if (site === undefined) return null;
    const placements = plan.placements.map((place, value) =>
      value === site ? change(place, plan, pick) : place,
    );
    return { ...plan, placements };
  };
}

function editStream(
  least: number,
  change: (segments: StreamSegment[], pick: Pick) => void,
): Mutation {
  return (plan, pick) => {
    const sites = plan.streams.flatMap((segments, sm) => (segments.length >= least ? [sm] : []));
    const site = sites[pick(Math.max(1, sites.length))];
    if (site === undefined) return null;
    const streams = plan.streams.map((segments, sm) => {
      if (sm !== site) return segments;
      const changed = [...segments];
      change(changed, pick);
      let offsetBytes = 0;
      return changed.map((segment) => {
        const placed = { ...segment, offsetBytes };
        offsetBytes += segment.chunks * segment.chunkBytes;
        return placed;
      });
    });
    return { ...plan, streams };
  };
}

function editRing(change: (ring: Plan["ring"]) => Partial<Plan["ring"]> | null): Mutation {
  return (plan) => {
    const changed = change(plan.ring);
    return changed === null ? null : { ...plan, ring: { ...plan.ring, ...changed } };
  };
}

const swap = (list: number[], a: number, b: number): void => {
  const kept = list[a] ?? 0;
  list[a] = list[b] ?? kept;
  list[b] = kept;
};

const moveTask: Mutation = (plan, pick) => {
  if (plan.machine.sms < 2) return null;
  const task = pick(plan.tasks.count);
  const from = plan.tasks.sm[task] ?? 0;
  const to = (from + 1 + pick(plan.machine.sms - 1)) % plan.machine.sms;
  const order = listsOf(plan.order).map((list) => list.filter((id) => id !== task));
  // By task id is by op: where the planner would have put it.
  order[to] = [...(order[to] ?? []), task].sort((a, b) => a - b);
  return withOrder(plan, order, plan.tasks.sm.map((sm, id) => (id === task ? to : sm)));
};

const shiftTiles: Mutation = (plan, pick) => {
  const task = pick(plan.tasks.count);
  const by = (plan.tasks.tileLo[task] ?? 0) > 0 && pick(2) === 0 ? -1 : 1;
  const shift = (list: Int32Array): Int32Array => list.map((x, i) => (i === task ? x + by : x));
  const { tileLo, tileHi } = plan.tasks;
  return { ...plan, tasks: { ...plan.tasks, tileLo: shift(tileLo), tileHi: shift(tileHi) } };
};

/** By name, what is broken. */
export const mutations = {
  "drop a wait": editLists("waits", (list, at) => void list.splice(at, 1)),
  "drop a signal": editLists("signals", (list, at) => void list.splice(at, 1)),
  "duplicate a trigger": editLists("signals", (list, at) => list.push(list[at] ?? 0)),
  "wait for another event": editLists("waits", (list, at, plan, pick) => {
    list[at] = ((list[at] ?? 0) + 1 + pick(Math.max(1, plan.events.count - 1))) % plan.events.count;
  }),
  "swap two tasks on an SM": editOrder((list, at) => swap(list, at, (at + 1) % list.length)),
  "run a task twice": editOrder((list, at) => void list.splice(at, 0, list[at] ?? 0)),
  "drop a task": editOrder((list, at) => void list.splice(at, 1)),
  "move a task to another SM": moveTask,
  "shift a tile range": shiftTiles,
  "lower a threshold": addThreshold(-1),
  "raise a threshold": addThreshold(1),
  "flip a crossStep flag": editEvent(({ events }, event) => ({
    crossStep: events.crossStep.map((x, i) => (i === event ? 1 - x : x)),
  })),
  "shrink the ring": editRing(({ stages }) => (stages > 1 ? { stages: stages - 1 } : null)),
  "break the multiple of warps": editRing(({ stages }) => ({ stages: stages + 1 })),
  "shrink a stage": editRing(({ stageBytes }) => ({ stageBytes: stageBytes / 2 })),
  "reuse a buffer early": editPlacement(
    (place) => place.kind === "scratch",
    (place, plan, pick) => {
      const others = plan.placements.flatMap((other) => (other.kind === "scratch" ? [other] : []));
      const offsetBytes = others[pick(others.length)]?.offsetBytes ?? 0;
      return place.kind === "scratch" ? { ...place, offsetBytes } : place;
    },
  ),
  "shift a view": editPlacement(
    (place) => place.kind === "view",
    (place) => (place.kind === "view" ? { ...place, column: place.column + 4 } : place),
  ),
  "reorder a stream": editStream(2, (segments, pick) => {
    const at = pick(segments.length - 1);
    segments.splice(at, 2, ...segments.slice(at, at + 2).reverse());
  }),
  "resize a segment": editStream(1, (segments, pick) => {
    const at = pick(segments.length);
    const segment = segments[at];
    if (segment !== undefined) segments[at] = { ...segment, chunks: segment.chunks + 1 };
  }),
  "flip a manyOnly flag": editEvent(({ events }, event) => ({
    manyOnly: events.manyOnly.map((x, i) =>
      i === event && events.crossStep[event] === 0 ? 1 - x : x),
  })),
  "use one copy of flagged values": editFlags(() => ({ copyBytes: 0 })),
  "share a flagged row's bytes": editFlags(({ flags }, pick) => {
    const site = pick(flags.value.length);
    const other = flags.offsetBytes[pick(flags.value.length)] ?? 0;
    return { offsetBytes: flags.offsetBytes.map((x, i) => (i === site ? other : x)) };
  }),
  "put flagged rows among the others": editFlags(({ placements }, pick) => {
    const places = placements.flatMap((place) => (place.kind === "scratch" ? [place] : []));
    return { startBytes: places[pick(places.length)]?.offsetBytes ?? 0 };
  }),
  "no longer flag a value": editFlags(({ flags }, pick) => {
    const site = pick(flags.value.length);
    const without = (list: Int32Array): Int32Array => list.filter((_, i) => i !== site);
    return { value: without(flags.value), offsetBytes: without(flags.offsetBytes) };
  }),
} as const satisfies Record<string, Mutation>;

export type MutationKind = keyof typeof mutations;
export const mutationKinds = Object.keys(mutations) as readonly MutationKind[];

export interface MutatedPlan {
  readonly kind: MutationKind;
  readonly original: Plan;
  readonly mutated: Plan;
}

/** Plans broken in one place, each of the listed kinds alike. */
export function mutatedPlans(
  plans: fc.Arbitrary<Plan>,
  kinds: readonly MutationKind[] = mutationKinds,
): fc.Arbitrary<MutatedPlan> {
  const draws = fc.array(fc.nat(), { minLength: 4, maxLength: 4 });
  return fc
    .tuple(plans, fc.constantFrom(...kinds), draws)
    .map(([original, kind, numbers]) => {
      return { kind, original, mutated: mutate(original, kind, numbers) };
    })
    .filter((made): made is MutatedPlan => made.mutated !== null);
}

function mutate(plan: Plan, kind: MutationKind, numbers: readonly number[]): Plan | null {
  let drawn = 0;
  return mutations[kind](plan, (n) => (numbers[drawn++ % numbers.length] ?? 0) % Math.max(1, n));
}
