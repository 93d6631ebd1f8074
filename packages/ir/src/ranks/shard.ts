/**
 * @file shard(): one rank's part of a Program, in the manner of Megatron-LM (arXiv:1909.08053):
 * projections that begin a block by column, those that end it by row with a sum over ranks after.
 */
import { createBuilder } from "../builder.ts";
import type { ProgramBuilder } from "../builder.ts";
import { ShapeError } from "../semantics.ts";
import type { SemanticsTable } from "../semantics.ts";
import type { Op, Program, ValueId, Weight } from "../types.ts";
import { findLayout, traitsOf } from "./layout.ts";
import type { Layout } from "./layout.ts";

/**
 * The Program of rank 0 of `ranks` alike ones; those of the others differ in which slices of the
 * weights they take (`allRanks`). Give it the Program as written, before any pass.
 *
 * Heads, and whatever lies between two products, are split by columns; sums of partial products
 * are `allReduce` ops. Embedding, norms over whole rows, the output projection and the token choice
 * are computed on every rank. Where columns or heads do not divide, ops stay whole on every rank.
 *
 * Throws `ShapeError` for less than one rank, or where nothing can be split.
 */
export function shard(program: Program, ranks: number, table: SemanticsTable): Program {
  if (!Number.isInteger(ranks) || ranks < 1) {
    throw new ShapeError(`shard: expected at least 1 rank, got ${ranks}`);
  }
  if (ranks === 1) return program;
  const sharder = new Sharder(program, ranks, table);
  if (!program.ops.some((op) => sharder.layout.isPartial(op))) {
    throw new ShapeError(
      `shard: nothing of program ${program.name} can be split over ${ranks} ranks; ` +
        `take a number that divides the heads and the widths of its layers`,
    );
  }
  return sharder.run();
}

class Sharder {
  readonly layout: Layout;
  readonly #program: Program;
  readonly #ranks: number;
  readonly #table: SemanticsTable;
  readonly #builder: ProgramBuilder;
  readonly #made = new Map<ValueId, ValueId>();

  constructor(program: Program, ranks: number, table: SemanticsTable) {
    const { name, limits } = program;
    this.layout = findLayout(program, table, ranks);
    this.#program = program;
    this.#ranks = ranks;
    this.#table = table;
    this.#builder = createBuilder({ name, limits, table });
  }

  run(): Program {
    for (const op of this.#program.ops) this.#add(op);
    for (const [name, value] of Object.entries(this.#program.outputs)) {
      this.#builder.output(name, this.#value(value));
    }
    return this.#builder.build();
  }

  #add(op: Op): void {
    const { kind, scope, site } = op;
    if (kind === "allReduce") {
      // What the author meant to be summed is whole by now.
      this.#made.set(op.outputs[0] ?? -1, this.#value(op.inputs[0] ?? -1));
      return;
    }
    const isPartial = this.layout.isPartial(op);
    const isSplit = op.outputs.some((id) => this.layout.isSplit(id));
    const inputs = op.inputs.map((id) => this.#operand(op, id, isPartial, isSplit));
    const states = op.states.map((id) => this.#state(id, isSplit));
    const partial = { out: "f32" };
    const attrs = {
      ...op.attrs, ...(isSplit ? this.#splitAttrs(op) : {}), ...(isPartial ? partial : {}),
    };
    const names = op.outputs.map((id) => this.#name(id));
    const given = isPartial ? names.map((name) => `${name}.partial`) : names;
    let results = this.#builder.op({ kind, inputs, states, attrs, scope, site, names: given });
    if (isPartial) {
      const sum = { kind: "allReduce", attrs: { reduce: "sum" }, inputs: results, scope, site };
      const isRounded = op.attrs["out"] === "bf16";
      results = this.#builder.op({ ...sum, names: isRounded ? [`${names[0]}.sum`] : names });
      // Parts are added up in float32; what was rounded is rounded after.
      const round = { kind: "cast", attrs: { to: "bf16" }, inputs: results, scope, site, names };
      if (isRounded) results = this.#builder.op(round);
    }
    op.outputs.forEach((id, i) => this.#made.set(id, results[i] ?? -1));
  }

  /** Heads of the rank's own columns; widths within a head stay. */
  #splitAttrs(op: Op): Op["attrs"] {
    if (!traitsOf(this.#table, op).stateful) return {};
    const share = (n: unknown): number => Number(n) / this.#ranks;
    return { heads: share(op.attrs["heads"]), kvHeads: share(op.attrs["kvHeads"]) };
  }

  #operand(op: Op, id: ValueId, isPartial: boolean, isSplit: boolean): ValueId {
    const { origin, type } = this.#value0(id);
    if (origin.kind !== "weight") return this.#value(id);
    if (isPartial) return this.#weight(id, 1);
    const { contraction, rowNorm, stateful } = traitsOf(this.#table, op);
    if (!isSplit || rowNorm || stateful) return this.#weight(id, null);
    // A product's rows are its result's columns, as are the elements of a bias.
    const isWhole = !contraction && Number(type.shape[0]) === 1;
    return this.#weight(id, isWhole ? null : 0);
  }

  /** A weight, or the first of its slices along an axis. */
  #weight(id: ValueId, axis: 0 | 1 | null): ValueId {
    const { name, type } = this.#value0(id);
    const parts = this.#program.weights.find(({ value }) => value === id)?.parts ?? [];
    if (axis === null) return this.#builder.weight(name, type, parts);
    const size = Number(type.shape[axis]);
    const [part, ...others] = parts;
    const isWhole = part !== undefined && others.length === 0 && part.slice === undefined;
    if (!isWhole || size % this.#ranks !== 0) {
      throw new ShapeError(`shard: ${name} cannot be split along axis ${axis}; shard before passes`);
    }
    const shape = type.shape.map((dim, i) => (i === axis ? size / this.#ranks : dim));
    const slice = { axis, index: 0, of: this.#ranks };
    const own: Weight["parts"] = [{ tensor: part.tensor, rows: Number(shape[0]), slice }];
    return this.#builder.weight(`${name}.${axis === 0 ? "rows" : "columns"}`, { ...type, shape }, own);
  }

  #state(id: ValueId, isSplit: boolean): ValueId {
    const known = this.#made.get(id);
    const state = this.#program.states.find(({ value }) => value === id);
    if (known !== undefined || state === undefined) return known ?? -1;
    const kvHeads = isSplit ? state.kvHeads / this.#ranks : state.kvHeads;
    const made = this.#builder.state(this.#name(id), { kvHeads, headDim: state.headDim });
    this.#made.set(id, made);
    return made;
  }

  #value(id: ValueId): ValueId {
    const { origin } = this.#value0(id);
    if (origin.kind === "input") return this.#builder.input(origin.input);
    if (origin.kind === "weight") return this.#weight(id, null);
    return this.#made.get(id) ?? -1;
  }

  #name(id: ValueId): string {
    return this.#value0(id).name;
  }

  #value0(id: ValueId): Program["values"][number] {
    const value = this.#program.values[id];
    if (value === undefined) throw new ShapeError(`shard: value ${id} does not exist`);
    return value;
  }
}
