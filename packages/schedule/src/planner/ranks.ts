/**
 * @file Several ranks: alike GPUs, whose SMs are numbered rank by rank. Their ops stay on their own
 * SMs, their values in their own arenas; a counter lies where it is polled. Pure.
 */
import { PlanError } from "../errors.ts";
import type { EventTable, IdLists, Machine, Placement } from "../plan.ts";
import { toIdLists } from "./events.ts";
import type { Events } from "./events.ts";
import type { MemoryPlan } from "./memory.ts";

/** Which rank computes each op of a Program, as `allRanks` of @mpk/ir gives it. */
export interface RankMap {
  readonly ranks: number;
  /** By op index. */
  readonly rankOf: readonly number[];
}

/** Throws `PlanError` unless every op has a rank. */
export function checkRanks({ ranks, rankOf }: RankMap, ops: number): void {
  const isRank = (rank: number): boolean => Number.isInteger(rank) && rank >= 0 && rank < ranks;
  if (Number.isInteger(ranks) && ranks >= 1 && rankOf.length === ops && rankOf.every(isRank)) return;
  throw new PlanError(
    `ranks: expected a rank below ${ranks} for each of ${ops} ops; give what allRanks() returned`,
  );
}

/** All ranks' SMs as one machine; the rest is that of each. */
export function machineOfRanks(machine: Machine, ranks: number): Machine {
  if (ranks === 1) return machine;
  return Object.freeze({
    ...machine, name: `${ranks} x ${machine.name}`, sms: machine.sms * ranks,
  });
}

/** One counter for each rank that waits: polls are local, triggers go to every one of them. */
export function splitByRank(
  { events, waits, signals }: Pick<Events, "events" | "waits" | "signals">,
  rankOfTask: (task: number) => number,
): { readonly events: EventTable; readonly waits: IdLists; readonly signals: IdLists } {
  const copies = Array.from({ length: events.count }, () => new Map<number, number>());
  const from: number[] = [];
  const homeRank: number[] = [];
  const listOf = (lists: IdLists, i: number): number[] => [
    ...lists.items.subarray(lists.start[i], lists.start[i + 1]),
  ];
  const tasks = waits.start.length - 1;
  const waitLists = Array.from({ length: tasks }, (_, task) =>
    listOf(waits, task).map((event) => {
      const rank = rankOfTask(task);
      const known = copies[event]?.get(rank);
      if (known !== undefined) return known;
      copies[event]?.set(rank, from.length);
      from.push(event);
      homeRank.push(rank);
      return from.length - 1;
    }),
  );
  const signalLists = Array.from({ length: tasks }, (_, task) =>
    listOf(signals, task).flatMap((event) => [...(copies[event]?.values() ?? [])]),
  );
  const pick = (list: ArrayLike<number>): number[] => from.map((event) => list[event] ?? 0);
  return {
    events: {
      count: from.length,
      threshold: Int32Array.from(pick(events.threshold)),
      homeRank: Int32Array.from(homeRank),
      crossStep: Uint8Array.from(pick(events.crossStep)),
      manyOnly: Uint8Array.from(pick(events.manyOnly)),
    },
    waits: toIdLists(waitLists),
    signals: toIdLists(signalLists),
  };
}

/** Arenas of the same size, one behind the other; `rankOf`: by value, or undefined for none. */
export function joinArenas(
  plans: readonly MemoryPlan[],
  rankOf: (value: number) => number | undefined,
): MemoryPlan {
  const [first] = plans;
  if (first === undefined || plans.length === 1) return first ?? { placements: [], scratchBytes: 0 };
  const arena = Math.max(...plans.map(({ scratchBytes }) => scratchBytes));
  const placements = first.placements.map((other, value): Placement => {
    const rank = rankOf(value) ?? 0;
    const place = plans[rank]?.placements[value] ?? other;
    if (place.kind !== "scratch" || place.bytes === 0) return place;
    return { ...place, offsetBytes: place.offsetBytes + rank * arena };
  });
  return { placements, scratchBytes: arena * plans.length };
}
