/**
 * @file Cuts memory into cells: bytes that the same tasks touch in the same way behave alike, so
 * one of them stands for all. Pure.
 */
import type { ScheduleTable } from "../contracts.ts";
import type { Plan } from "../plan.ts";
import { collectOperands } from "./operands.ts";
import type { Poll, Slot, Span, Touch, TouchKind } from "./operands.ts";

export interface Cell {
  readonly kind: "scratch" | "kv" | "descriptor";
  /** For comments: where it is, and whose. */
  readonly name: string;
  /** In the order of slots. */
  readonly touches: readonly Touch[];
  readonly part: number;
}

/** Every cell that something reads, and who polls whom. Throws `PlanError`, as `collectOperands`. */
export function cutCells(
  plan: Plan,
  table: ScheduleTable,
): { readonly cells: readonly Cell[]; readonly polls: readonly Poll[] } {
  const { slots, arena, states, polls } = collectOperands(plan, table);
  const cells = [
    ...classes(arena).map(({ lo, touches }): Cell => ({
      kind: "scratch", name: `arena byte ${lo}`, touches, part: 0,
    })),
    ...[...states].flatMap(([state, spans]) =>
      classes(spans).map(({ lo, touches }): Cell => {
        const name = `${plan.program.values[state]?.name ?? `state ${state}`} column ${lo}`;
        return { kind: "kv", name, touches, part: 0 };
      }),
    ),
    ...descriptors(slots),
  ];
  return { cells, polls };
}

/** The two step descriptors: every SM reads one as it enters a step, the effect writes the next. */
function descriptors(slots: readonly Slot[]): readonly Cell[] {
  const touches = slots
    .filter(({ schedule }) => schedule.semantics.traits.effect)
    .map(({ slot }): Touch => ({ slot, kind: "open", value: 0 }));
  if (touches.length === 0) return [];
  return [0, 1].map((part) => ({
    kind: "descriptor", name: `step descriptor ${part}`, touches, part,
  }));
}

const storing: readonly TouchKind[] = ["write", "append", "open", "writeMany", "word0", "word1"];
export const isStore = ({ kind }: Touch): boolean => storing.includes(kind);

/** Cuts the spans at all their ends and joins the pieces that the same touches meet in. */
function classes(spans: readonly Span[]): readonly { lo: number; touches: readonly Touch[] }[] {
  const cuts = [...new Set(spans.flatMap(({ lo, hi }) => [lo, hi]))].sort((a, b) => a - b);
  const found = new Map<string, { lo: number; touches: readonly Touch[] }>();
  for (const lo of cuts) {
    const here = spans.filter((span) => span.lo <= lo && lo < span.hi);
    if (!here.some(({ touch }) => !isStore(touch))) continue;
    const unique = new Map(
      here.map(({ touch }) => [`${touch.slot} ${touch.kind} ${touch.value}`, touch]),
    );
    const key = [...unique.keys()].sort().join(", ");
    if (found.has(key)) continue;
    const touches = [...unique.values()].sort((a, b) => a.slot - b.slot);
    found.set(key, { lo, touches });
  }
  return [...found.values()];
}
