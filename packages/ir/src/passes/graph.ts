/** @file A Program opened for rewriting: ops with their users, and back to a Program. */
import { produce } from "immer";
import { freshName } from "../describe.ts";
import { inferTypes } from "../infer.ts";
import { renumber } from "../renumber.ts";
import { ShapeError } from "../semantics.ts";
import type { SemanticsTable, Traits } from "../semantics.ts";
import type { Op, Program, TensorType, Value, ValueId, Weight } from "../types.ts";

/** An op in a graph. Replaced, never changed: its fields are those of the Program's op. */
export interface Node {
  readonly op: Op;
  /** Place in the order of ops. */
  readonly rank: number;
}

/** Where and as what a new op stands. */
export interface NewOp {
  readonly kind: string;
  readonly inputs: readonly ValueId[];
  readonly attrs: Op["attrs"];
  /** None where absent. */
  readonly states?: Op["states"];
  /** Gives scope and call site. */
  readonly like: Node;
  /** Gives the place. */
  readonly near: Node;
  readonly place: "before" | "at" | "after";
  /** Existing values that it defines from now on; new ones where absent. */
  readonly outputs?: readonly ValueId[];
}

export interface Graph {
  readonly table: SemanticsTable;
  /** The ops, in order, as they are now: a copy, safe to edit under. */
  nodes(): readonly Node[];
  /** Whether the op is still there. */
  has(node: Node): boolean;
  value(id: ValueId): Value;
  typeOf(id: ValueId): TensorType;
  traits(node: Node): Traits;
  /** The op that defines a value, or null for inputs, weights and states. */
  producer(id: ValueId): Node | null;
  /** The ops that read a value, each once. */
  users(id: ValueId): readonly Node[];
  isOutput(id: ValueId): boolean;
  partsOf(weight: ValueId): Weight["parts"];
  addWeight(name: string, type: TensorType, parts: Weight["parts"]): ValueId;
  /** Adds an op; types of new outputs are inferred. Gives its outputs. */
  add(op: NewOp): readonly ValueId[];
  /** Removes an op; what it defined must be defined anew or unused. */
  remove(node: Node): void;
  /** The same op with other inputs or attributes; its outputs stay. */
  change(node: Node, change: Partial<Pick<Op, "inputs" | "attrs">>): Node;
  /** Every reader of `from`, and outputs named so, take `to` instead. */
  replaceUses(from: ValueId, to: ValueId): void;
  /** Removes ops whose results nobody reads, effects excepted. */
  sweep(): void;
}

// New ops go between existing ones: ranks are spaced so that they fit.
const rankStep = 1024;
const placeOffset = { before: -1, at: 0, after: 1 } as const;

/**
 * Opens a Program, lets `edit` change the graph, and closes it again; ops that lost their last
 * reader in the process go. Gives `program` itself where nothing changed.
 */
export function rewrite(
  program: Program,
  table: SemanticsTable,
  edit: (graph: Graph) => void,
): Program {
  const state = openProgram(program);
  const graph = graphOver(state, table);
  edit(graph);
  if (!state.changed) return program;
  graph.sweep();
  const ops = orderedNodes(state).map((node) => node.op);
  const { values, weights, outputs } = state;
  const next = renumber({ ...program, values, weights, ops, outputs: { ...outputs } });
  return produce(program, (draft) => void Object.assign(draft, next));
}

interface GraphState {
  changed: boolean;
  readonly values: Value[];
  readonly weights: Weight[];
  readonly outputs: Record<string, ValueId>;
  readonly nodes: Set<Node>;
  readonly producers: Map<ValueId, Node>;
  readonly users: Map<ValueId, Set<Node>>;
  readonly names: Set<string>;
}

function openProgram(program: Program): GraphState {
  const state: GraphState = {
    changed: false,
    values: [...program.values],
    weights: [...program.weights],
    outputs: { ...program.outputs },
    nodes: new Set(),
    producers: new Map(),
    users: new Map(),
    names: new Set(program.values.map((value) => value.name)),
  };
  program.ops.forEach((op, index) => insert(state, { op, rank: index * rankStep }));
  return state;
}

function insert(state: GraphState, node: Node): Node {
  state.nodes.add(node);
  for (const id of node.op.outputs) state.producers.set(id, node);
  for (const id of node.op.inputs) {
    const users = state.users.get(id) ?? new Set();
    state.users.set(id, users.add(node));
  }
  return node;
}

function removeNode(state: GraphState, node: Node): void {
  state.nodes.delete(node);
  state.changed = true;
  for (const id of node.op.outputs) {
    if (state.producers.get(id) === node) state.producers.delete(id);
  }
  for (const id of node.op.inputs) state.users.get(id)?.delete(node);
}

function orderedNodes(state: GraphState): readonly Node[] {
  return [...state.nodes].sort((a, b) => a.rank - b.rank);
}

function addValue(
  state: GraphState,
  base: string,
  type: TensorType,
  kind: "op" | "weight",
): ValueId {
  const id = state.values.length;
  const name = freshName(state.names, base);
  state.names.add(name);
  state.values.push({ id, name, type, origin: { kind } });
  state.changed = true;
  return id;
}

function graphOver(state: GraphState, table: SemanticsTable): Graph {
  const value = (id: ValueId): Value => {
    const found = state.values[id];
    if (!found) throw new ShapeError(`value ${id} does not exist`);
    return found;
  };
  const typeOf = (id: ValueId): TensorType => value(id).type;
  const traits = (node: Node): Traits => {
    const semantics = table.get(node.op.kind);
    if (!semantics) throw new ShapeError(`there is no op called ${node.op.kind}`);
    return semantics.traits;
  };
  const graph: Graph = {
    table,
    value,
    typeOf,
    traits,
    nodes: () => orderedNodes(state),
    has: (node) => state.nodes.has(node),
    producer: (id) => state.producers.get(id) ?? null,
    users: (id) => [...(state.users.get(id) ?? [])],
    isOutput: (id) => Object.values(state.outputs).includes(id),
    partsOf: (id) => state.weights.find((weight) => weight.value === id)?.parts ?? [],
    addWeight(name, type, parts) {
      const id = addValue(state, name, type, "weight");
      state.weights.push({ value: id, parts });
      return id;
    },
    add(spec) {
      const { scope, site } = spec.like.op;
      const { kind, inputs, attrs, states = [] } = spec;
      const op = { kind, inputs, states, attrs, scope, site };
      const base = scope === "" ? kind : `${scope}.${kind}`;
      const outputs = spec.outputs ?? inferTypes(table, op, inputs, typeOf)
        .map((type) => addValue(state, base, type, "op"));
      const rank = spec.near.rank + placeOffset[spec.place];
      insert(state, { op: { ...op, outputs }, rank });
      state.changed = true;
      return outputs;
    },
    remove: (node) => removeNode(state, node),
    change(node, change) {
      removeNode(state, node);
      return insert(state, { op: { ...node.op, ...change }, rank: node.rank });
    },
    replaceUses(from, to) {
      const swap = (id: ValueId): ValueId => (id === from ? to : id);
      for (const user of graph.users(from)) {
        graph.change(user, { inputs: user.op.inputs.map(swap) });
      }
      for (const [name, id] of Object.entries(state.outputs)) state.outputs[name] = swap(id);
      state.changed = true;
    },
    sweep() {
      const used = (id: ValueId): boolean =>
        (state.users.get(id)?.size ?? 0) > 0 || graph.isOutput(id);
      for (const node of orderedNodes(state).toReversed()) {
        if (!traits(node).effect && !node.op.outputs.some(used)) removeNode(state, node);
      }
    },
  };
  return graph;
}
