/** @file Finds which tasks need which ops' results, from the regions they touch. Pure. */
import type { Program } from "@mpk/ir";
import type { Assigned } from "./assign.ts";
import type { OpNode } from "./nodes.ts";
import type { Resolved } from "./views.ts";

export interface Dependencies {
  /** By task: ops of which a task on another SM must be done first. Ascending, no repeats. */
  readonly needs: readonly (readonly number[])[];
  /** Producer-consumer pairs of tasks on different SMs, within a step. */
  readonly pairs: number;
  /** By base value: ops whose tasks read or write its bytes, the writer first. */
  readonly accessors: readonly (readonly number[])[];
}

/** The column intervals written to one value, ascending, and the task that writes each. */
interface Writers {
  readonly op: number;
  readonly lo: number[];
  readonly hi: number[];
  readonly task: number[];
}

interface StateAccess {
  readonly op: number;
  readonly task: number;
  readonly rows: "past" | "append";
  readonly write: boolean;
  readonly lo: number;
  readonly hi: number;
}

/**
 * Read-after-write through values, and any conflicting order through states. Values are written
 * once per step; reuse of their bytes, within a step or by the next, is the memory plan's and the
 * step gate's business.
 */
export function findDependencies(
  program: Program,
  nodes: readonly OpNode[],
  resolved: readonly Resolved[],
  assigned: Assigned,
  execution: readonly number[],
): Dependencies {
  const finder = makeFinder(program, nodes, resolved, assigned);
  for (const op of execution) finder.visit(op);
  return finder.result();
}

function makeFinder(
  program: Program,
  nodes: readonly OpNode[],
  resolved: readonly Resolved[],
  { tasks, opStart }: Assigned,
): { visit(op: number): void; result(): Dependencies } {
  const writers = new Map<number, Writers>();
  const states = new Map<number, StateAccess[]>();
  const needs: number[][] = Array.from({ length: tasks.count }, () => []);
  const accessors: number[][] = program.values.map(() => []);
  // seen[p] === c + 1: the pair (p, c) is already counted.
  const seen = new Int32Array(tasks.count);
  let pairs = 0;

  const need = (consumer: number, producer: number): void => {
    if (seen[producer] === consumer + 1 || tasks.sm[producer] === tasks.sm[consumer]) return;
    seen[producer] = consumer + 1;
    pairs++;
    const op = tasks.op[producer] ?? 0;
    const list = needs[consumer];
    if (list !== undefined && !list.includes(op)) list.push(op);
  };
  const note = (value: number, op: number): void => {
    const list = accessors[value];
    if (list !== undefined && list[list.length - 1] !== op) list.push(op);
  };

  const visitReads = (op: number, task: number): void => {
    const { cls } = nodes[op] as OpNode;
    for (const region of cls.regions(tasks.tileLo[task] ?? 0, tasks.tileHi[task] ?? 0).reads) {
      const from = resolved[program.ops[op]?.inputs[region.index] ?? -1];
      const producers = from === undefined ? undefined : writers.get(from.base);
      if (from === undefined || producers === undefined) continue;
      note(from.base, op);
      const lo = region.lo + from.column;
      const hi = region.hi + from.column;
      for (let i = firstEndingAfter(producers.hi, lo); i < producers.lo.length; i++) {
        if ((producers.lo[i] ?? 0) >= hi) break;
        need(task, producers.task[i] ?? 0);
      }
    }
  };

  const visitStates = (op: number, task: number): void => {
    const { cls } = nodes[op] as OpNode;
    for (const region of cls.regions(tasks.tileLo[task] ?? 0, tasks.tileHi[task] ?? 0).states) {
      const state = program.ops[op]?.states[region.state] ?? -1;
      const earlier = states.get(state) ?? [];
      states.set(state, earlier);
      const write = region.access === "write";
      for (const other of earlier) {
        const overlap = other.lo < region.hi && region.lo < other.hi && other.rows === region.rows;
        if (other.op !== op && overlap && (write || other.write)) need(task, other.task);
      }
      earlier.push({ op, task, rows: region.rows, write, lo: region.lo, hi: region.hi });
    }
  };

  const visitWrites = (op: number, task: number): void => {
    const { cls } = nodes[op] as OpNode;
    for (const region of cls.regions(tasks.tileLo[task] ?? 0, tasks.tileHi[task] ?? 0).writes) {
      const value = program.ops[op]?.outputs[region.index];
      if (value === undefined) continue;
      note(value, op);
      let list = writers.get(value);
      if (list === undefined) writers.set(value, (list = { op, lo: [], hi: [], task: [] }));
      list.lo.push(region.lo);
      list.hi.push(region.hi);
      list.task.push(task);
    }
  };

  const visit = (op: number): void => {
    const end = opStart[op + 1] ?? 0;
    for (let task = opStart[op] ?? 0; task < end; task++) {
      visitReads(op, task);
      visitStates(op, task);
      needs[task]?.sort((a, b) => a - b);
    }
    for (let task = opStart[op] ?? 0; task < end; task++) visitWrites(op, task);
    for (const output of program.ops[op]?.outputs ?? []) sortWriters(writers, output);
  };
  return { visit, result: () => ({ needs, pairs, accessors }) };
}

function sortWriters(writers: Map<number, Writers>, value: number): void {
  const list = writers.get(value);
  if (list === undefined || list.lo.every((lo, i) => i === 0 || (list.lo[i - 1] ?? 0) <= lo)) {
    return;
  }
  const by = [...list.lo.keys()].sort((a, b) => (list.lo[a] ?? 0) - (list.lo[b] ?? 0));
  const pick = (from: readonly number[]): number[] => by.map((i) => from[i] ?? 0);
  writers.set(value, {
    op: list.op, lo: pick(list.lo), hi: pick(list.hi), task: pick(list.task),
  });
}

/** First index whose (ascending) end exceeds `lo`. */
function firstEndingAfter(ends: readonly number[], lo: number): number {
  let a = 0;
  let b = ends.length;
  while (a < b) {
    const mid = (a + b) >> 1;
    if ((ends[mid] ?? 0) > lo) b = mid;
    else a = mid + 1;
  }
  return a;
}
