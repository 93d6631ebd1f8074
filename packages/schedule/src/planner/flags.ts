/** @file Chooses the values that one-token steps hand over word by word, and places them. Pure. */
import { dtypeBytes } from "@mpk/ir";
import type { Program } from "@mpk/ir";
import type { PackingBudget } from "../contracts.ts";
import type { FlagTable } from "../plan.ts";
import type { OpNode } from "./nodes.ts";
import { columnsOf, roundUp } from "./shapes.ts";
import type { Resolved } from "./views.ts";

export const noFlags: FlagTable = Object.freeze({
  value: new Int32Array(), offsetBytes: new Int32Array(), startBytes: 0, copyBytes: 0,
});

/** Polls are vector loads: rows, and where views start in them, are multiples of 16 bytes. */
const vectorBytes = 16;
/** Writers on different SMs share no cache line of 128 bytes more often than they must. */
const alignment = 128;

/**
 * The values that can be flagged, ascending: rows of tokens of float numbers whose producer can
 * store word by word and whose every reader polls what it reads. Results are read by the host, so
 * they are not.
 */
export function chooseFlagged(
  program: Program,
  nodes: readonly OpNode[],
  resolved: readonly Resolved[],
  budget: PackingBudget,
): ReadonlySet<number> {
  const flagged = new Set<number>();
  const isVector = (value: number, column: number): boolean => {
    const type = program.values[value]?.type;
    if (type === undefined) return false;
    const bytes = dtypeBytes[type.dtype];
    return (column * bytes) % vectorBytes === 0 && (columnsOf(type) * bytes) % vectorBytes === 0;
  };
  for (const { index, cls, view } of nodes) {
    const [value] = program.ops[index]?.outputs ?? [];
    const type = program.values[value ?? -1]?.type;
    if (view || value === undefined || type === undefined) continue;
    const isRow = type.shape[0] === "T" && type.dtype !== "i32" && isVector(value, 0);
    if (isRow && cls.schedule.tiling.flags?.stores(cls.instance, budget) === true) flagged.add(value);
  }
  for (const output of Object.values(program.outputs)) flagged.delete(resolved[output]?.base ?? -1);
  const read = new Set<number>();
  for (const { index, cls, view } of nodes) {
    if (view) continue;
    const polled = cls.schedule.tiling.flags?.polls(cls.instance, budget) ?? [];
    program.ops[index]?.inputs.forEach((input, i) => {
      const from = resolved[input];
      if (from === undefined) return;
      read.add(from.base);
      if (!polled.includes(i) || !isVector(input, from.column)) flagged.delete(from.base);
    });
  }
  return new Set([...flagged].filter((value) => read.has(value)).sort((a, b) => a - b));
}

/** Rows one after another from `startBytes` on, in two copies: the same distances in all layers. */
export function placeFlagged(
  program: Program,
  flagged: ReadonlySet<number>,
  startBytes: number,
): FlagTable {
  if (flagged.size === 0) return noFlags;
  let copyBytes = 0;
  const offsets = Array.from(flagged, (value) => {
    const offset = copyBytes;
    const type = program.values[value]?.type;
    const bytes = type === undefined ? 0 : columnsOf(type) * dtypeBytes[type.dtype];
    copyBytes = roundUp(copyBytes + bytes, alignment);
    return offset;
  });
  return {
    value: Int32Array.from(flagged), offsetBytes: Int32Array.from(offsets),
    startBytes: roundUp(startBytes, alignment), copyBytes,
  };
}
