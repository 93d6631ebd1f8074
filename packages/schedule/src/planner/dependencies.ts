/** @file Finds which tasks need which ops' results, from the regions they touch. Pure. */
import type { Op, Program } from "@mpk/ir";
import type { TaskRegions } from "../contracts.ts";
import type { Assigned } from "./assign.ts";
import type { OpNode } from "./nodes.ts";
import type { Resolved } from "./views.ts";

export interface Dependencies {
  /** By task: ops of which a task on another SM must be done first. Ascending, no repeats. */
  readonly needs: readonly (readonly number[])[];
  /** The same without what flagged values carry: what one-token steps need events for. */
  readonly eventNeeds: readonly (readonly number[])[];
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
 * step gate's business. `flagged`: values that one-token steps hand over word by word.
 */
export function findDependencies(
  program: Program,
  nodes: readonly OpNode[],
  resolved: readonly Resolved[],
  assigned: Assigned,
  execution: readonly number[],
  flagged: ReadonlySet<number>,
): Dependencies {
  const finder = new Finder(program, nodes, resolved, assigned, flagged);
  for (const op of execution) finder.visit(op);
  const { needs, eventNeeds, pairs, accessors } = finder;
  return { needs, eventNeeds, pairs, accessors };
}

class Finder {
  readonly needs: number[][];
  readonly eventNeeds: number[][];
  readonly accessors: number[][];
  pairs = 0;
  readonly #program: Program;
  readonly #nodes: readonly OpNode[];
  readonly #resolved: readonly Resolved[];
  readonly #assigned: Assigned;
  readonly #flagged: ReadonlySet<number>;
  readonly #writers = new Map<number, Writers>();
  readonly #states = new Map<number, StateAccess[]>();
  /** seen[p] === c + 1: the pair (p, c) is already counted. */
  readonly #seen: Int32Array;

  constructor(
    program: Program,
    nodes: readonly OpNode[],
    resolved: readonly Resolved[],
    assigned: Assigned,
    flagged: ReadonlySet<number>,
  ) {
    this.#program = program;
    this.#nodes = nodes;
    this.#resolved = resolved;
    this.#assigned = assigned;
    this.#flagged = flagged;
    this.needs = Array.from({ length: assigned.tasks.count }, () => []);
    this.eventNeeds = flagged.size === 0 ? this.needs : this.needs.map(() => []);
    this.accessors = program.values.map(() => []);
    this.#seen = new Int32Array(assigned.tasks.count);
  }

  /** Finds what an op's tasks need of the ops visited before, then notes what they write. */
  visit(index: number): void {
    const op = this.#program.ops[index];
    const node = this.#nodes[index];
    if (op === undefined || node === undefined) return;
    const { tasks, opStart } = this.#assigned;
    const [from, to] = [opStart[index] ?? 0, opStart[index + 1] ?? 0];
    const regions = (task: number): TaskRegions =>
      node.cls.regions(tasks.tileLo[task] ?? 0, tasks.tileHi[task] ?? 0);
    for (let task = from; task < to; task++) {
      this.#visitReads(op, index, task, regions(task));
      this.#visitStates(op, index, task, regions(task));
      this.needs[task]?.sort((a, b) => a - b);
    }
    for (let task = from; task < to; task++) this.#visitWrites(op, index, task, regions(task));
    for (const output of op.outputs) sortWriters(this.#writers, output);
  }

  #visitReads(op: Op, index: number, task: number, { reads }: TaskRegions): void {
    for (const region of reads) {
      const from = this.#resolved[op.inputs[region.index] ?? -1];
      const producers = from === undefined ? undefined : this.#writers.get(from.base);
      if (from === undefined || producers === undefined) continue;
      this.#note(from.base, index);
      const lo = region.lo + from.column;
      const hi = region.hi + from.column;
      for (let i = firstEndingAfter(producers.hi, lo); i < producers.lo.length; i++) {
        if ((producers.lo[i] ?? 0) >= hi) break;
        this.#need(task, producers.task[i] ?? 0, this.#flagged.has(from.base));
      }
    }
  }

  #visitStates(op: Op, index: number, task: number, { states }: TaskRegions): void {
    for (const { state, rows, access, lo, hi } of states) {
      const id = op.states[state] ?? -1;
      const earlier = this.#states.get(id) ?? [];
      this.#states.set(id, earlier);
      const write = access === "write";
      for (const other of earlier) {
        const overlap = other.lo < hi && lo < other.hi && other.rows === rows;
        const conflict = overlap && (write || other.write);
        if (other.op !== index && conflict) this.#need(task, other.task, false);
      }
      earlier.push({ op: index, task, rows, write, lo, hi });
    }
  }

  #visitWrites(op: Op, index: number, task: number, { writes }: TaskRegions): void {
    for (const region of writes) {
      const value = op.outputs[region.index];
      if (value === undefined) continue;
      this.#note(value, index);
      const list = this.#writers.get(value) ?? { op: index, lo: [], hi: [], task: [] };
      this.#writers.set(value, list);
      list.lo.push(region.lo);
      list.hi.push(region.hi);
      list.task.push(task);
    }
  }

  #need(consumer: number, producer: number, isFlagged: boolean): void {
    const { tasks } = this.#assigned;
    if (tasks.sm[producer] === tasks.sm[consumer]) return;
    const op = tasks.op[producer] ?? 0;
    const events = this.eventNeeds[consumer];
    if (!isFlagged && events?.includes(op) === false) events.push(op);
    if (this.#seen[producer] === consumer + 1) return;
    this.#seen[producer] = consumer + 1;
    this.pairs++;
    const list = this.needs[consumer];
    if (list !== undefined && !list.includes(op)) list.push(op);
  }

  #note(value: number, op: number): void {
    const list = this.accessors[value];
    if (list !== undefined && list[list.length - 1] !== op) list.push(op);
  }
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
