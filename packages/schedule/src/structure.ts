/**
 * @file Whether a plan's parts fit together: lengths, ranges, ids. What the verifier and the
 * virtual GPU may rely on; a plan from a file is untrusted until this is empty. Pure.
 */
import type { IdLists, Plan } from "./plan.ts";

/** More of the same tell nothing new. */
const mostProblems = 20;

/** Everything wrong with the plan's form, as sentences; empty when well formed. */
export function structureProblems(plan: Plan): readonly string[] {
  const problems: string[] = [];
  const say = (text: string): void => {
    if (problems.length < mostProblems) problems.push(text);
  };
  if (!isCount(plan.ranks) || plan.ranks < 1 || plan.machine.sms % plan.ranks !== 0) {
    say(`ranks: ${plan.machine.sms} SMs are not those of ${plan.ranks} alike ranks`);
  }
  checkTasks(plan, say);
  const { sms } = plan.machine;
  const { count } = plan.tasks;
  checkLists("order", plan.order, sms, count, "task", say);
  checkLists("waits", plan.waits, count, plan.events.count, "event", say);
  checkLists("signals", plan.signals, count, plan.events.count, "event", say);
  checkEvents(plan, say);
  checkRing(plan, say);
  checkStreams(plan, say);
  checkPlacements(plan, say);
  checkFlags(plan, say);
  return problems;
}

type Say = (text: string) => void;

function isCount(x: unknown): x is number {
  return typeof x === "number" && Number.isInteger(x) && x >= 0;
}

function checkTasks(plan: Plan, say: Say): void {
  const { tasks, machine, program } = plan;
  for (const key of ["op", "sm", "tileLo", "tileHi"] as const) {
    if (tasks[key].length !== tasks.count) {
      say(`tasks.${key}: expected ${tasks.count} entries, got ${tasks[key].length}`);
    }
  }
  const bounds = { op: program.ops.length, sm: machine.sms };
  for (let task = 0; task < tasks.count; task++) {
    for (const key of ["op", "sm"] as const) {
      const id = tasks[key][task] ?? -1;
      if (id < 0 || id >= bounds[key]) {
        say(`task ${task}: ${key} ${id} is outside of 0..${bounds[key] - 1}`);
      }
    }
    const [lo, hi] = [tasks.tileLo[task] ?? -1, tasks.tileHi[task] ?? -1];
    if (lo < 0 || hi <= lo) say(`task ${task}: tiles ${lo}..${hi} are no range`);
  }
}

function checkLists(
  name: string,
  lists: IdLists,
  owners: number,
  ids: number,
  what: string,
  say: Say,
): void {
  const { start, items } = lists;
  if (start.length !== owners + 1) {
    say(`${name}.start: expected ${owners + 1} entries, got ${start.length}`);
  }
  if (start[0] !== 0 || start[start.length - 1] !== items.length) {
    say(`${name}.start: must run from 0 to ${items.length}, the number of items`);
  }
  for (let i = 1; i < start.length; i++) {
    if ((start[i] ?? 0) < (start[i - 1] ?? 0)) say(`${name}.start: falls at entry ${i}`);
  }
  items.forEach((id, i) => {
    if (id < 0 || id >= ids) say(`${name}.items: entry ${i} names ${what} ${id} of ${ids}`);
  });
}

function checkEvents(plan: Plan, say: Say): void {
  const { events } = plan;
  for (const key of ["threshold", "homeRank", "crossStep", "manyOnly"] as const) {
    if (events[key].length !== events.count) {
      say(`events.${key}: expected ${events.count} entries, got ${events[key].length}`);
    }
  }
  for (let event = 0; event < events.count; event++) {
    if ((events.threshold[event] ?? -1) < 0) say(`event ${event}: its threshold is negative`);
    const home = events.homeRank[event] ?? -1;
    if (home < 0 || home >= plan.ranks) {
      say(`event ${event}: its home rank ${home} is outside of 0..${plan.ranks - 1}`);
    }
    if ((events.crossStep[event] ?? 2) > 1) say(`event ${event}: crossStep is neither 0 nor 1`);
    if ((events.manyOnly[event] ?? 2) > 1) say(`event ${event}: manyOnly is neither 0 nor 1`);
    if (events.manyOnly[event] === 1 && events.crossStep[event] === 1) {
      say(`event ${event}: counts steps of several tokens only, so it cannot open the next step`);
    }
  }
}

function checkRing(plan: Plan, say: Say): void {
  for (const [key, value] of Object.entries(plan.ring)) {
    if (!isCount(value)) say(`ring.${key}: expected a whole number of at least 0, got ${value}`);
  }
  for (const key of ["stages", "stageBytes", "consumerWarps", "maxInFlight"] as const) {
    if (plan.ring[key] < 1) say(`ring.${key}: must be at least 1`);
  }
}

function checkStreams(plan: Plan, say: Say): void {
  const { streams, machine, program, layouts, tasks } = plan;
  if (layouts.length !== program.ops.length) {
    say(`layouts: expected one per op, ${program.ops.length}, got ${layouts.length}`);
  }
  layouts.forEach((layout, op) => {
    if (layout === null) return;
    for (const key of [
      "n", "k", "blocksPerChunk", "chunksPerTile", "chunksPerSlice", "tilesPerGroup",
    ] as const) {
      if (!isCount(layout[key]) || layout[key] < 1) say(`layout of op ${op}: ${key} is below 1`);
    }
    const { weights: { length: groups }, folds } = layout;
    if (![1, 2, 4, 8].includes(groups)) {
      say(`layout of op ${op}: ${groups} groups; 1, 2, 4 or 8 can be packed`);
    }
    if (![1, 2, 4].includes(folds) || groups * folds > 8) {
      say(`layout of op ${op}: ${folds} folds of ${groups} groups; 1, 2 or 4, both at most 8 together`);
    }
  });
  if (streams.length !== machine.sms) {
    say(`streams: expected one per SM, ${machine.sms}, got ${streams.length}`);
  }
  streams.forEach((segments, sm) => {
    segments.forEach(({ task, offsetBytes, chunks, chunkBytes }, i) => {
      const where = `stream of SM ${sm}, segment ${i}`;
      if (!isCount(task) || task >= tasks.count) say(`${where}: there is no task ${task}`);
      else if ((layouts[tasks.op[task] ?? -1] ?? null) === null) {
        say(`${where}: task ${task} streams nothing`);
      }
      if (!isCount(offsetBytes) || !isCount(chunks) || !isCount(chunkBytes)) {
        say(`${where}: offset, chunks and chunk bytes must be whole numbers of at least 0`);
      }
    });
  });
}

function checkPlacements(plan: Plan, say: Say): void {
  const { placements, program, scratchBytes, pages, pageTokens } = plan;
  if (placements.length !== program.values.length) {
    say(`placements: expected one per value, ${program.values.length}, got ${placements.length}`);
  }
  placements.forEach((place, value) => {
    if (place.kind === "view" && placements[place.of]?.kind === "view") {
      say(`value ${value}: is a view of value ${place.of}, which is a view itself`);
    }
    if (place.kind === "view" && (!isCount(place.of) || placements[place.of] === undefined)) {
      say(`value ${value}: is a view of value ${place.of}, which does not exist`);
    }
    if (place.kind === "view" && !isCount(place.column)) {
      say(`value ${value}: its view starts at column ${place.column}`);
    }
    if (place.kind === "scratch" && (!isCount(place.offsetBytes) || !isCount(place.bytes))) {
      say(`value ${value}: its place in the arena is no range of bytes`);
    }
  });
  if (!isCount(scratchBytes)) say(`scratchBytes: expected bytes, got ${scratchBytes}`);
  if (!isCount(pages) || !isCount(pageTokens) || pageTokens < 1) {
    say(`pages and pageTokens: expected whole numbers, got ${pages} and ${pageTokens}`);
  }
}

function checkFlags({ flags, program }: Plan, say: Say): void {
  const { value, offsetBytes, startBytes, copyBytes } = flags;
  if (value.length !== offsetBytes.length) {
    say(`flags: ${value.length} values, but ${offsetBytes.length} offsets`);
  }
  if (!isCount(startBytes) || !isCount(copyBytes)) say("flags: the copies are no range of bytes");
  value.forEach((id, i) => {
    if (id < 0 || id >= program.values.length) say(`flags: entry ${i} names value ${id}`);
    if (i > 0 && id <= (value[i - 1] ?? -1)) say(`flags: values do not ascend at entry ${i}`);
    if ((offsetBytes[i] ?? -1) < 0) say(`flags: entry ${i} starts before its copy`);
  });
}
