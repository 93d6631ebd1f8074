/** @file What a task costs beside its stream, from the regions that its op declares. Pure. */
import { dtypeBytes } from "@mpk/ir";
import { splitsOf } from "../holds.ts";
import type { Model } from "../verify/model.ts";
import type { SimulationConstants } from "./constants.ts";

/** Nanoseconds by slot of `plan.order.items`, in a step of one token. */
export interface TaskCosts {
  /** Between the task's last wait and its first product. */
  readonly prologue: Float64Array;
  /** Rows of a state that its consumers load, beginning before its inputs are there, bytes. */
  readonly loadedBytes: Float64Array;
  /** Between its last product and its signals. */
  readonly epilogueNanos: number;
  /** Cached keys and values that come through the ring as weights do, bytes. */
  readonly copiedBytes: Float64Array;
}

/** With `context` cached positions. */
export function taskCosts(
  model: Model,
  constants: SimulationConstants,
  context: number,
): TaskCosts {
  const { values } = model.plan.program;
  const copiedBytes = new Float64Array(model.slots);
  const loadedBytes = new Float64Array(model.slots);
  const prologue = Float64Array.from({ length: model.slots }, (_, slot) => {
    const task = model.slotTask[slot] ?? 0;
    const op = model.plan.tasks.op[task] ?? 0;
    const { schedule } = model.ops[op] ?? {};
    // A greedy choice of the token reads one maximum a block of logits, though it may read them all.
    const isChoice = schedule?.semantics.traits.effect === true;
    const activations = isChoice ? 0 : model.reads(slot).reduce((sum, { value, lo, hi }) => {
      return sum + (hi - lo) * dtypeBytes[values[value]?.type.dtype ?? "f32"];
    }, 0);
    const past = model.states(slot).filter((state) => state.rows === "past");
    // A row of keys and one of values for each position that the task's tiles take.
    const share = shareOfContext(model, op, task);
    const rows = past.reduce((sum, { lo, hi }) => {
      return sum + context * (share ?? 1) * (hi - lo) * 2 * dtypeBytes.bf16;
    }, 0);
    const isLoaded = share === null && past.length > 0;
    (isLoaded ? loadedBytes : copiedBytes)[slot] = rows;
    return constants.prologueNanos
      + activations / constants.activationBytesPerNano
      + (past.length > 0 ? constants.stateNanos : 0)
      + (isChoice ? constants.stepNanos : 0);
  });
  return { prologue, loadedBytes, epilogueNanos: constants.epilogueNanos, copiedBytes };
}

/**
 * Of the cached positions of the heads that a task touches, the share that it reads: regions speak of
 * columns alone. Null for ops that do not cut the context.
 */
function shareOfContext({ plan }: Model, index: number, task: number): number | null {
  const op = plan.program.ops[index];
  const splits = op === undefined ? 0 : splitsOf(op);
  if (splits === 0) return null;
  const lo = plan.tasks.tileLo[task] ?? 0;
  const hi = plan.tasks.tileHi[task] ?? 0;
  return (hi - lo) / (splits * (Math.ceil(hi / splits) - Math.floor(lo / splits)));
}
