/** @file Places values in the scratch arena, reusing bytes only behind proven order. Pure. */
import type { Program } from "@mpk/ir";
import type { Placement } from "../plan.ts";
import type { Assigned } from "./assign.ts";
import { hasBit } from "./events.ts";
import type { Events } from "./events.ts";
import { bytesOf, roundUp } from "./shapes.ts";
import type { Resolved } from "./views.ts";

/** Bulk copies want 16 bytes, whole cache lines avoid sharing between writers: 256 does both. */
const alignment = 256;

export interface MemoryPlan {
  readonly placements: readonly Placement[];
  readonly scratchBytes: number;
}

interface Block {
  readonly offset: number;
  readonly bytes: number;
  readonly accessors: readonly number[];
  /** Results stay readable until the next step. */
  readonly keep: boolean;
  /** Used in steps of several tokens only. */
  readonly flagged: boolean;
}

/**
 * First fit, in execution order. A block may be overwritten by an op only if every op that touches
 * it is complete before any task of that op starts (`doneBefore`); across steps the gate orders
 * everything. One-token steps know of fewer ops (`doneBeforeOfOne`), but leave the bytes of
 * flagged values alone. Cost: values still alive per op, so linear in layers.
 */
export function planMemory(
  program: Program,
  resolved: readonly Resolved[],
  accessors: readonly (readonly number[])[],
  assigned: Assigned,
  execution: readonly number[],
  { doneBefore, doneBeforeOfOne }: Pick<Events, "doneBefore" | "doneBeforeOfOne">,
  flagged: ReadonlySet<number>,
): MemoryPlan {
  const kept = new Set(Object.values(program.outputs).map((value) => resolved[value]?.base));
  const offsets = new Map<number, { offset: number; bytes: number }>();
  const { opStart, tasks } = assigned;
  const busySms = new Set(
    execution.flatMap((op) => [...tasks.sm.subarray(opStart[op], opStart[op + 1])]),
  ).size;
  let alive: Block[] = [];
  let scratchBytes = 0;
  for (const op of execution) {
    const done = doneBefore[op] as Uint32Array;
    const doneOfOne = doneBeforeOfOne[op] as Uint32Array;
    const isDead = (block: Block, forFlagged = false): boolean =>
      !block.keep && block.accessors.every((accessor) => hasBit(done, accessor)) &&
      (block.flagged || forFlagged || block.accessors.every((it) => hasBit(doneOfOne, it)));
    // An op on every SM in use leaves nobody behind: what is dead to it is dead to all later ops.
    const onAll = (opStart[op + 1] ?? 0) - (opStart[op] ?? 0) === busySms;
    if (onAll) alive = alive.filter((block) => !isDead(block));
    for (const value of program.ops[op]?.outputs ?? []) {
      const type = program.values[value]?.type;
      if (type === undefined) continue;
      const bytes = bytesOf(type, program.limits.maxTokens);
      const isFlagged = flagged.has(value);
      const offset = firstGap(alive.filter((block) => !isDead(block, isFlagged)), bytes);
      const block = {
        offset, bytes: roundUp(bytes, alignment),
        accessors: accessors[value] ?? [op], keep: kept.has(value), flagged: isFlagged,
      };
      alive.push(block);
      offsets.set(value, { offset, bytes });
      scratchBytes = Math.max(scratchBytes, offset + block.bytes);
    }
  }
  const placements = program.values.map((value) => place(value.id, program, resolved, offsets));
  return { placements, scratchBytes };
}

function firstGap(blocks: Block[], bytes: number): number {
  blocks.sort((a, b) => a.offset - b.offset);
  let offset = 0;
  for (const block of blocks) {
    if (block.offset - offset >= bytes) return offset;
    offset = Math.max(offset, block.offset + block.bytes);
  }
  return offset;
}

function place(
  value: number,
  program: Program,
  resolved: readonly Resolved[],
  offsets: ReadonlyMap<number, { offset: number; bytes: number }>,
): Placement {
  const from = resolved[value];
  if (from !== undefined && from.base !== value) {
    return { kind: "view", of: from.base, column: from.column, lastRow: from.lastRow };
  }
  const origin = program.values[value]?.origin.kind ?? "op";
  if (origin === "weight" || origin === "state") return { kind: origin };
  if (origin === "input") return { kind: "step" };
  const at = offsets.get(value);
  // No op writes it: nothing reads it either, or the coverage law names it.
  if (at === undefined) return { kind: "scratch", offsetBytes: 0, bytes: 0 };
  return { kind: "scratch", offsetBytes: at.offset, bytes: at.bytes };
}
