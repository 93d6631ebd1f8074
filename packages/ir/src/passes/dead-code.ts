/** @file Pass: ops, weights and states that no output needs go. */
import { renumber } from "../renumber.ts";
import type { Program } from "../types.ts";
import { produce } from "immer";
import { rewrite } from "./graph.ts";
import type { Pass } from "./pass.ts";

function dropUnused(program: Program): Program {
  const used = new Set([
    ...program.ops.flatMap((op) => [...op.inputs, ...op.states]),
    ...Object.values(program.outputs),
  ]);
  const isKept = (id: number): boolean => {
    const kind = program.values[id]?.origin.kind;
    return used.has(id) || kind === "op" || kind === "input";
  };
  if (program.values.every((value) => isKept(value.id))) return program;
  return produce(program, (draft) => void Object.assign(draft, renumber({
    ...program,
    values: program.values.filter((value) => isKept(value.id)),
    weights: program.weights.filter((weight) => isKept(weight.value)),
    states: program.states.filter((state) => isKept(state.value)),
  })));
}

/** Keeps effects and what outputs need; step inputs always stay. */
export const deadCode: Pass = {
  name: "deadCode",
  reason: "last: merged weights leave the originals behind, which would be loaded and packed",
  run: (program, table) => dropUnused(rewrite(program, table, (graph) => graph.sweep())),
};
