/** @file A plan as plain data for people to look at: ops, tasks on SMs, edges between ops. Pure. */
import { siteText, typeText, type Op, type Program } from "@mpk/ir";
import type { IdLists, Plan } from "@mpk/schedule";
import { reportOf, type Report } from "./report.ts";

export interface OpView {
  /** Index in the Program. */
  readonly index: number;
  readonly kind: string;
  readonly scope: string;
  readonly site: string;
  readonly inputs: readonly string[];
  readonly output: string;
  readonly tasks: number;
  readonly tiles: number;
  readonly streamedBytes: number;
  /** Events that its tasks wait for, within the step. */
  readonly waits: number;
  /** Longest chain of hand-offs before its last task can start. */
  readonly depth: number;
}

/** A task on an SM, in execution order per SM. */
export interface TaskView {
  readonly op: number;
  readonly sm: number;
  readonly tileLo: number;
  readonly tileHi: number;
  readonly streamedBytes: number;
  readonly waits: readonly number[];
  readonly signals: readonly number[];
}

/** Counter events that carry data, or order, from tasks of one op to tasks of another. */
export interface EdgeView {
  readonly from: number;
  readonly to: number;
  readonly events: readonly number[];
  readonly crossStep: boolean;
}

export interface PlanView {
  readonly report: Report;
  readonly ops: readonly OpView[];
  readonly tasks: readonly TaskView[];
  readonly edges: readonly EdgeView[];
}

const idsOf = (lists: IdLists, owner: number): readonly number[] => [
  ...lists.items.subarray(lists.start[owner] ?? 0, lists.start[owner + 1] ?? 0),
];

/** The plan as tables. */
export function viewPlan(plan: Plan, target: string | null = null): PlanView {
  const tasks = viewTasks(plan);
  const edges = viewEdges(plan, tasks);
  return {
    report: reportOf(plan, target, {}),
    ops: viewOps(plan, tasks, edges),
    tasks,
    edges,
  };
}

function viewTasks(plan: Plan): readonly TaskView[] {
  const bytes = new Map<number, number>();
  for (const segment of plan.streams.flat()) {
    const before = bytes.get(segment.task) ?? 0;
    bytes.set(segment.task, before + segment.chunks * segment.chunkBytes);
  }
  return Array.from({ length: plan.tasks.count }, (_, task) => ({
    op: plan.tasks.op[task] ?? 0,
    sm: plan.tasks.sm[task] ?? 0,
    tileLo: plan.tasks.tileLo[task] ?? 0,
    tileHi: plan.tasks.tileHi[task] ?? 0,
    streamedBytes: bytes.get(task) ?? 0,
    waits: idsOf(plan.waits, task),
    signals: idsOf(plan.signals, task),
  }));
}

function viewEdges(plan: Plan, tasks: readonly TaskView[]): readonly EdgeView[] {
  const producers = new Map<number, Set<number>>();
  for (const task of tasks) {
    for (const event of task.signals) {
      const ops = producers.get(event) ?? new Set();
      producers.set(event, ops.add(task.op));
    }
  }
  const found = new Map<string, Omit<EdgeView, "events"> & { readonly events: Set<number> }>();
  for (const { op: to, waits } of tasks) {
    for (const event of waits) {
      const crossStep = plan.events.crossStep[event] === 1;
      for (const from of producers.get(event) ?? []) {
        const key = `${from} ${to} ${crossStep}`;
        const edge = found.get(key) ?? { from, to, crossStep, events: new Set() };
        edge.events.add(event);
        found.set(key, edge);
      }
    }
  }
  const edges = [...found.values()].map((edge) => ({ ...edge, events: [...edge.events] }));
  return edges.sort((a, b) => a.to - b.to || a.from - b.from);
}

function viewOps(
  plan: Plan,
  tasks: readonly TaskView[],
  edges: readonly EdgeView[],
): readonly OpView[] {
  const { program } = plan;
  const own = program.ops.map(() => ({ tasks: 0, tiles: 0, bytes: 0, waits: new Set<number>() }));
  for (const task of tasks) {
    const sums = own[task.op];
    if (sums === undefined) continue;
    sums.tasks++;
    sums.tiles += task.tileHi - task.tileLo;
    sums.bytes += task.streamedBytes;
    for (const event of task.waits) if (plan.events.crossStep[event] === 0) sums.waits.add(event);
  }
  const depth: number[] = [];
  return program.ops.map((op, index) => {
    const before = edges.filter(({ to, crossStep }) => to === index && !crossStep);
    depth[index] = Math.max(0, ...before.map(({ from }) => (depth[from] ?? 0) + 1));
    const sums = own[index];
    return {
      index,
      kind: op.kind,
      scope: op.scope,
      site: op.site === null ? "" : siteText(op.site),
      inputs: op.inputs.map((id) => valueText(program, id)),
      output: outputText(program, op),
      tasks: sums?.tasks ?? 0,
      tiles: sums?.tiles ?? 0,
      streamedBytes: sums?.bytes ?? 0,
      waits: sums?.waits.size ?? 0,
      depth: depth[index],
    };
  });
}

function valueText(program: Program, id: number): string {
  const value = program.values[id];
  return value === undefined ? `value ${id}` : `${value.name}: ${typeText(value.type)}`;
}

const outputText = (program: Program, op: Op): string =>
  op.outputs.map((id) => valueText(program, id)).join(", ");
