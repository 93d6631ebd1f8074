/** @file plan(): from a Program to a Plan, one step per file. Pure and deterministic. */
import type { Program } from "@mpk/ir";
import type { ScheduleTable, StreamLayout } from "../contracts.ts";
import { PlanError } from "../errors.ts";
import { checkMachine } from "../machines.ts";
import type { Machine, Plan } from "../plan.ts";
import { assignTasks } from "./assign.ts";
import { findDependencies } from "./dependencies.ts";
import { planEvents } from "./events.ts";
import { foldOps } from "./folds.ts";
import type { FoldChoice } from "./folds.ts";
import { chooseFlagged, placeFlagged } from "./flags.ts";
import { planMemory } from "./memory.ts";
import { executionOrder, resolveOps } from "./nodes.ts";
import type { OpClass } from "./nodes.ts";
import { chooseRing, layoutOf, ringDemand } from "./ring.ts";
import type { RingOptions } from "./ring.ts";
import { checkRanks, joinArenas, machineOfRanks, splitByRank } from "./ranks.ts";
import type { RankMap } from "./ranks.ts";
import { pairOps } from "./pairs.ts";
import { planStreams } from "./streams.ts";
import { resolveViews } from "./views.ts";

/** The planner's choices, each with a default; `mpk tune` tries others. */
export interface PlanOptions extends RingOptions {
  /** Layers after which the assignment to SMs repeats; default 1. See `Assignment`. */
  readonly period?: number;
  /**
   * Ranks, each with all of `machine`, and the rank of each op: `allRanks` of @mpk/ir gives both
   * with the Program. Default: one.
   */
  readonly ranks?: RankMap;
  /** Positions per KV page; default 64. */
  readonly pageTokens?: number;
  /**
   * How one-token steps hand values over: by counters (default), or by flags in the data wherever
   * the ops can (see docs/adr/0006-flag-in-data.md).
   */
  readonly protocol?: "counter" | "flag";
  /**
   * Parts of K that the rows of a tile are split into: more, smaller tiles. Default: `auto` with flags,
   * where few large tiles would leave SMs idle, else 1.
   */
  readonly folds?: FoldChoice;
  /**
   * Tiles of linears take turns in slices of K where steps of a few tokens then read x half as often:
   * another order of the same bytes. Default: with protocol "flag", as timed.
   */
  readonly pairs?: boolean;
}

/**
 * Schedules a Program (after all passes) on a machine.
 *
 * Throws `PlanError` naming the op or machine that cannot be planned: an op that the table lacks,
 * a view that is none, too little shared memory, SMs outside 1..256.
 */
export function plan(
  program: Program,
  table: ScheduleTable,
  machine: Machine,
  options: PlanOptions = {},
): Plan {
  checkMachine(machine);
  const unfolded = resolveOps(program, table);
  const execution = executionOrder(program, unfolded);
  if (execution.length === 0) {
    throw new PlanError(`program ${program.name}: no op has work to do; nothing to schedule`);
  }
  const resolved = resolveViews(program, unfolded);
  const { maxTokens, maxContext } = program.limits;
  const { protocol = "counter" } = options;
  const demand = ringDemand(new Set(unfolded.map((node) => node.cls)), maxTokens, options);
  const ring = chooseRing(machine, maxTokens, demand, options);
  const folds = options.folds ?? (protocol === "flag" ? "auto" : 1);
  const folded = foldOps(unfolded, ring, machine.sms, folds);
  const pairs = options.pairs ?? protocol === "flag";
  const nodes = pairs ? pairOps(folded, ring, machine.sms) : folded;
  const byClass = new Map<OpClass, StreamLayout | null>();
  for (const { cls } of nodes) if (!byClass.has(cls)) byClass.set(cls, layoutOf(cls, ring));
  const layouts = nodes.map((node) => byClass.get(node.cls) ?? null);
  const map: RankMap = options.ranks ?? { ranks: 1, rankOf: program.ops.map(() => 0) };
  checkRanks(map, program.ops.length);
  const rankOf = (op: number): number => map.rankOf[op] ?? 0;
  const whole = machineOfRanks(machine, map.ranks);
  const { sms } = whole;
  const period = options.period ?? 1;
  if (!(period >= 1)) throw new PlanError(`period: expected at least 1 layer, got ${period}`);
  if (protocol !== "counter" && protocol !== "flag") {
    throw new PlanError(`protocol: expected "counter" or "flag", got ${String(protocol)}`);
  }
  if (protocol === "flag" && map.ranks > 1) {
    throw new PlanError(`protocol: several ranks hand over by counters alone, not by flags`);
  }
  const isMade = (value: number): boolean => program.values[value]?.origin.kind === "op";
  const readsOf = (op: number): readonly number[] => (program.ops[op]?.inputs ?? []).filter(isMade);
  const assigned = assignTasks(nodes, execution, layouts, machine.sms, { period }, rankOf, readsOf);
  const flagged = protocol === "flag"
    ? chooseFlagged(program, nodes, resolved, { ...ring, chunkBytes: ring.stageBytes })
    : new Set<number>();
  const found = findDependencies(program, nodes, resolved, assigned, execution, flagged);
  const effects = nodes.map((node) => node.cls.schedule.semantics.traits.effect);
  const events = planEvents(found.needs, found.eventNeeds, assigned, execution, effects, sms);
  const rankOfTask = (task: number): number => rankOf(assigned.tasks.op[task] ?? 0);
  const split = map.ranks === 1 ? events : splitByRank(events, rankOfTask);
  const memories = Array.from({ length: map.ranks }, (_, rank) =>
    planMemory(
      program, resolved, found.accessors, assigned,
      execution.filter((op) => rankOf(op) === rank), events, flagged,
    ),
  );
  const writer = new Map(program.ops.flatMap(({ outputs }, op) =>
    outputs.map((value) => [value, rankOf(op)] as const)));
  const memory = joinArenas(memories, (value) => writer.get(value));
  const flags = placeFlagged(program, flagged, memory.scratchBytes);
  const pageTokens = options.pageTokens ?? 64;
  return Object.freeze({
    format: "mpk-plan",
    version: 1,
    program,
    machine: whole,
    ranks: map.ranks,
    ring,
    tasks: assigned.tasks,
    order: assigned.order,
    waits: split.waits,
    signals: split.signals,
    events: split.events,
    edgesBeforeFusion: found.pairs + events.gatePairs,
    layouts,
    streams: planStreams(assigned, layouts, sms),
    placements: memory.placements,
    scratchBytes: Math.max(memory.scratchBytes, flags.startBytes + 2 * flags.copyBytes),
    flags,
    pageTokens,
    pages: Math.ceil(maxContext / pageTokens),
  });
}
