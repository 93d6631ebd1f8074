/** @file Assigns tile ranges to SMs, balancing streamed bytes. Deterministic. */
import type { StreamLayout } from "../contracts.ts";
import { chunkBytesOf } from "../packing.ts";
import type { IdLists, TaskTable } from "../plan.ts";
import type { OpNode } from "./nodes.ts";

/**
 * Ops at the same place of every `period`-th layer get the same SMs, so that the emitted
 * instruction lists repeat. A longer period evens out what is left over: for the shapes of
 * Qwen3-8B on 132 SMs, periods of 1, 2 and 6 layers give the busiest SM 2.9, 0.8 and 0.1 % more
 * bytes than the average; Infinity takes each layer by itself.
 */
export interface Assignment {
  readonly period: number;
}

export interface Assigned {
  readonly tasks: TaskTable;
  readonly order: IdLists;
  /** By op index: its tasks are [opStart[i], opStart[i + 1]). */
  readonly opStart: Int32Array;
}

interface Group {
  readonly members: number[];
  readonly node: OpNode;
  /** Whether its tasks stream weights. */
  readonly streams: boolean;
  /** Bytes-equivalent of one tile in all members together. */
  weight: number;
}

/** Tile ranges of one op: per SM in ascending order, how many tiles it gets. */
type Shares = Int32Array;

/**
 * Each op's tiles are split evenly, contiguous and ascending by SM; the SMs that get one tile
 * more are those with the fewest bytes so far, heaviest groups of ops first. Ops that stream nothing and
 * read the same value can run at once: they go to different SMs first. `sms`: those of one
 * rank; ranks are alike, so an op lies on the same SMs of each. `readsOf`: the values that other ops
 * made and an op reads.
 */
export function assignTasks(
  nodes: readonly OpNode[],
  execution: readonly number[],
  layouts: readonly (StreamLayout | null)[],
  sms: number,
  { period }: Assignment,
  rankOf: (op: number) => number = () => 0,
  readsOf: (op: number) => readonly number[] = () => [],
): Assigned {
  const groups = groupOps(nodes, layouts, period);
  const load = new Float64Array(sms);
  const shares = new Map<number, Shares>();
  const readers = new Map<number, Set<Shares>>();
  for (const group of groups) {
    const read = group.streams ? [] : group.members.flatMap(readsOf);
    const beside = new Set(read.flatMap((value) => [...readers.get(value) ?? []]));
    const share = shareOut(group, load, beside);
    for (const value of read) readers.set(value, (readers.get(value) ?? new Set()).add(share));
    for (const member of group.members) shares.set(member, share);
  }
  const ranks = 1 + nodes.reduce((most, { index }) => Math.max(most, rankOf(index)), 0);
  return buildTasks(nodes, execution, shares, { sms, ranks, rankOf });
}

function groupOps(
  nodes: readonly OpNode[],
  layouts: readonly (StreamLayout | null)[],
  period: number,
): readonly Group[] {
  const groups = new Map<string, Group>();
  for (const node of nodes) {
    if (node.view) continue;
    const { schedule, instance } = node.cls;
    const layout = layouts[node.index] ?? null;
    const streamed = layout === null ? 0 : layout.chunksPerTile * chunkBytesOf(layout);
    const cost = streamed + schedule.tiling.tileCostBytes(instance);
    // x % Infinity is x.
    const key = `${node.pattern} ${node.layer % period}`;
    const group = groups.get(key) ?? { members: [], node, streams: layout !== null, weight: 0 };
    group.members.push(node.index);
    group.weight += cost;
    groups.set(key, group);
  }
  // A stable sort: equal weights stay in program order.
  return [...groups.values()].sort((a, b) => b.weight - a.weight);
}

/** `beside`: shares of ops that would run at the same time. */
function shareOut(group: Group, load: Float64Array, beside: ReadonlySet<Shares>): Shares {
  const { cls } = group.node;
  const share = new Int32Array(load.length);
  const busy = Array.from(load.keys(), (sm) =>
    [...beside].reduce((tiles, other) => tiles + (other[sm] ?? 0), 0));
  const byLoad = Array.from(load.keys()).sort((a, b) =>
    (busy[a] ?? 0) - (busy[b] ?? 0) || (load[a] ?? 0) - (load[b] ?? 0) || a - b);
  if (cls.schedule.tiling.placement === "single") {
    share[byLoad[0] ?? 0] = cls.tiles;
  } else {
    share.fill(Math.floor(cls.tiles / load.length));
    for (const sm of byLoad.slice(0, cls.tiles % load.length)) share[sm] = (share[sm] ?? 0) + 1;
  }
  for (let sm = 0; sm < load.length; sm++) {
    load[sm] = (load[sm] ?? 0) + (share[sm] ?? 0) * group.weight;
  }
  return share;
}

function buildTasks(
  nodes: readonly OpNode[],
  execution: readonly number[],
  shares: ReadonlyMap<number, Shares>,
  { sms, ranks, rankOf }: { sms: number; ranks: number; rankOf: (op: number) => number },
): Assigned {
  const opStart = new Int32Array(nodes.length + 1);
  const perSm = new Int32Array(sms * ranks + 1);
  let count = 0;
  for (const node of nodes) {
    opStart[node.index] = count;
    const share = shares.get(node.index);
    for (let sm = 0; sm < sms; sm++) {
      if ((share?.[sm] ?? 0) === 0) continue;
      count++;
      const at = rankOf(node.index) * sms + sm + 1;
      perSm[at] = (perSm[at] ?? 0) + 1;
    }
  }
  opStart[nodes.length] = count;
  const tasks = {
    count,
    op: new Int32Array(count),
    sm: new Int32Array(count),
    tileLo: new Int32Array(count),
    tileHi: new Int32Array(count),
  };
  for (const [op, share] of shares) {
    let tile = 0;
    let task = opStart[op] ?? 0;
    for (let sm = 0; sm < sms; sm++) {
      const tiles = share[sm] ?? 0;
      if (tiles === 0) continue;
      tasks.op[task] = op;
      tasks.sm[task] = rankOf(op) * sms + sm;
      tasks.tileLo[task] = tile;
      tile += tiles;
      tasks.tileHi[task] = tile;
      task++;
    }
  }
  return { tasks, order: orderPerSm(tasks, opStart, execution, perSm), opStart };
}

function orderPerSm(
  tasks: TaskTable,
  opStart: Int32Array,
  execution: readonly number[],
  start: Int32Array,
): IdLists {
  for (let sm = 1; sm < start.length; sm++) start[sm] = (start[sm] ?? 0) + (start[sm - 1] ?? 0);
  const next = start.slice();
  const items = new Int32Array(tasks.count);
  for (const op of execution) {
    for (let task = opStart[op] ?? 0; task < (opStart[op + 1] ?? 0); task++) {
      const sm = tasks.sm[task] ?? 0;
      const at = next[sm] ?? 0;
      items[at] = task;
      next[sm] = at + 1;
    }
  }
  return { start, items };
}
