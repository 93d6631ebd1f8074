/** @file allRanks(): the Programs of all ranks as one, so that it can be run, planned and proven. */
import { createBuilder } from "../builder.ts";
import { exprToJson } from "../expr.ts";
import type { SemanticsTable } from "../semantics.ts";
import type { Expr, Op, Program, ValueId } from "../types.ts";

/** The programs of all ranks as one, with the rank of each op. */
export interface RankedProgram {
  readonly program: Program;
  readonly ranks: number;
  /** By op index, the rank that computes it. */
  readonly rankOf: readonly number[];
}

/**
 * One Program with every rank's ops side by side. `one` is rank 0's (of `shard`, passes or none
 * run on it); a rank takes its own slices of the weights and has its own states. A sum over ranks
 * becomes, on each of them, a sum of all their parts in the order of ranks: equal everywhere.
 * What comes after the last sum (final norm, output projection, token choice) is rank 0's alone,
 * as are the outputs; the others compute only what some sum needs of them.
 */
export function allRanks(one: Program, ranks: number, table: SemanticsTable): RankedProgram {
  const { name, limits } = one;
  const builder = createBuilder({ name, limits, table });
  const made = Array.from({ length: ranks }, () => new Map<ValueId, ValueId>());
  const partsOf = new Map(one.weights.map(({ value, parts }) => [value, parts]));
  const states = new Map(one.states.map((state) => [state.value, state]));
  const take = (id: ValueId, rank: number): ValueId => {
    const known = made[rank]?.get(id);
    const value = one.values[id];
    if (known !== undefined || value === undefined) return known ?? -1;
    const { origin, type } = value;
    const own = `${value.name}.rank${rank}`;
    const state = states.get(id);
    const parts = (partsOf.get(id) ?? []).map((part) =>
      part.slice === undefined ? part : { ...part, slice: { ...part.slice, index: rank } },
    );
    const taken = origin.kind === "input"
      ? builder.input(origin.input)
      : state !== undefined ? builder.state(own, state) : builder.weight(own, type, parts);
    made[rank]?.set(id, taken);
    return taken;
  };
  const rankOf: number[] = [];
  const shared = neededForSums(one);
  for (const op of one.ops) {
    const takers = op.outputs.some((id) => shared.has(id)) ? ranks : 1;
    for (let rank = 0; rank < takers; rank++) {
      const added = op.kind === "allReduce"
        ? sumOf(op.inputs.flatMap((id) => made.map((_, other) => take(id, other))), one, op)
        : { kind: op.kind, attrs: op.attrs, inputs: op.inputs.map((id) => take(id, rank)) };
      const results = builder.op({
        ...added,
        states: op.states.map((id) => take(id, rank)),
        // The rank comes last: the first number of a scope is its layer.
        scope: op.scope === "" ? `rank${rank}` : `${op.scope}.rank${rank}`,
        site: op.site,
        names: op.outputs.map((id) => `${one.values[id]?.name ?? id}.rank${rank}`),
      });
      op.outputs.forEach((id, i) => made[rank]?.set(id, results[i] ?? -1));
      rankOf.push(rank);
    }
  }
  for (const [key, id] of Object.entries(one.outputs)) builder.output(key, take(id, 0));
  return Object.freeze({ program: builder.build(), ranks, rankOf });
}

/** Values that lead to a sum over ranks. */
function neededForSums(one: Program): ReadonlySet<ValueId> {
  const needed = new Set<ValueId>();
  for (const op of one.ops.toReversed()) {
    const isSum = op.kind === "allReduce";
    if (!isSum && !op.outputs.some((id) => needed.has(id))) continue;
    for (const id of op.inputs) needed.add(id);
  }
  return needed;
}

function sumOf(
  inputs: readonly ValueId[],
  one: Program,
  op: Op,
): Pick<Op, "kind" | "attrs" | "inputs"> {
  const out = one.values[op.outputs[0] ?? -1]?.type.dtype ?? "f32";
  const arg = (index: number): Expr => ({ op: "arg", index });
  const sum = inputs.slice(1).reduce<Expr>(
    (x, _, i) => ({ op: "add", x, y: arg(i + 1) }), arg(0),
  );
  return { kind: "pointwise", inputs, attrs: { expr: exprToJson(sum), out } };
}
