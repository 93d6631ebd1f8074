/** @file Resolves a Program's ops against the op table: facets, instances, classes. Pure. */
import type { Program, TensorType } from "@mpk/ir";
import type {
  OpInstance, OpSchedule, ScheduleTable, StreamLayout, TaskRegions,
} from "../contracts.ts";
import { describeOp, PlanError } from "../errors.ts";
import { choicesOf } from "../packing.ts";

/** Ops with the same kind, attributes and types share one class, so facets are asked once. */
export interface OpClass {
  readonly id: number;
  readonly schedule: OpSchedule<unknown>;
  readonly instance: OpInstance;
  readonly tiles: number;
  /** Regions of tiles [lo, hi), remembered: identical layers ask the same questions. */
  regions(lo: number, hi: number): TaskRegions;
}

/** One op as the planner sees it. */
export interface OpNode {
  readonly index: number;
  readonly cls: OpClass;
  /** Same class and same place in their layers: such ops get the same assignment. */
  readonly pattern: number;
  /** The first number of its scope, such as 3 of `layers.3.attn`; 0 where there is none. */
  readonly layer: number;
  /** A view moves nothing: it has no tiles and no task. */
  readonly view: boolean;
}

/**
 * `layouts`: of a plan, whose folds and pairs count. Throws `PlanError` naming an op that the table lacks.
 */
export function resolveOps(
  program: Program,
  table: ScheduleTable,
  layouts: readonly (StreamLayout | null)[] = [],
): readonly OpNode[] {
  const classes = new Map<string, OpClass>();
  const patterns = new Map<string, number>();
  const seenInScope = new Map<string, number>();
  const { maxTokens } = program.limits;
  return program.ops.map((op, index) => {
    const types = (ids: readonly number[]): TensorType[] =>
      ids.map((id) => {
        const value = program.values[id];
        if (value === undefined) throw new PlanError(`${describeOp(op)}: no value ${id}`);
        return value.type;
      });
    const inputs = types(op.inputs);
    const outputs = types(op.outputs);
    const { folds, pairs } = choicesOf(layouts[index] ?? null);
    const key = JSON.stringify([op.kind, op.attrs, inputs, outputs, folds, pairs]);
    let cls = classes.get(key);
    if (cls === undefined) {
      const schedule = table.get(op.kind) as OpSchedule<unknown> | undefined;
      if (schedule === undefined) {
        const known = [...table.keys()].join(", ");
        throw new PlanError(`${describeOp(op)}: not in the op table; it has ${known}`);
      }
      const attrs = schedule.semantics.parseAttrs(op.attrs);
      const instance = { kind: op.kind, attrs, inputs, outputs, maxTokens, folds, pairs };
      cls = makeClass(classes.size, schedule, instance);
      classes.set(key, cls);
    }
    const ordinalKey = `${cls.id} ${op.scope}`;
    const ordinal = seenInScope.get(ordinalKey) ?? 0;
    seenInScope.set(ordinalKey, ordinal + 1);
    const patternKey = `${cls.id} ${ordinal} ${op.scope.replace(/\d+/g, "#")}`;
    const pattern = patterns.get(patternKey) ?? patterns.size;
    patterns.set(patternKey, pattern);
    const layer = Number(/\d+/.exec(op.scope)?.[0] ?? 0);
    return { index, cls, pattern, layer, view: cls.tiles === 0 };
  });
}

/** The same ops, each class replaced by what is chosen for it, once. */
export function chooseClasses(
  nodes: readonly OpNode[], choose: (cls: OpClass) => OpClass,
): readonly OpNode[] {
  const chosen = new Map<OpClass, OpClass>();
  return nodes.map((node) => {
    const cls = chosen.get(node.cls) ?? choose(node.cls);
    chosen.set(node.cls, cls);
    return cls === node.cls ? node : { ...node, cls };
  });
}

/** The same class, its tiles in pairs. */
export const inPairs = ({ id, schedule, instance }: OpClass): OpClass =>
  makeClass(id, schedule, { ...instance, pairs: true });

/** The same class with its tiles folded otherwise. */
export const withFolds = ({ id, schedule, instance }: OpClass, folds: number): OpClass =>
  makeClass(id, schedule, { ...instance, folds });

function makeClass(id: number, schedule: OpSchedule<unknown>, instance: OpInstance): OpClass {
  const known = new Map<number, TaskRegions>();
  const tiles = schedule.tiling.tiles(instance);
  const regions = (lo: number, hi: number): TaskRegions => {
    const key = lo * (tiles + 1) + hi;
    let found = known.get(key);
    if (found === undefined) {
      found = schedule.tiling.regions(instance, lo, hi);
      known.set(key, found);
    }
    return found;
  };
  return { id, schedule, instance, tiles, regions };
}

/**
 * Execution order of the ops that have tasks: program order, but with each effect (the token
 * choice) after everything that does not depend on it, since an effect opens the next step.
 */
export function executionOrder(program: Program, nodes: readonly OpNode[]): readonly number[] {
  const held = new Set<number>();
  const early: number[] = [];
  const late: number[] = [];
  for (const node of nodes) {
    const op = program.ops[node.index];
    if (op === undefined) continue;
    const isHeld =
      node.cls.schedule.semantics.traits.effect || op.inputs.some((input) => held.has(input));
    if (isHeld) for (const output of op.outputs) held.add(output);
    if (!node.view) (isHeld ? late : early).push(node.index);
  }
  return [...early, ...late];
}
