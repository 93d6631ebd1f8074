/** @file What two tasks touch in common, asked of the op table. Pure. */
import { dtypeBytes } from "@mpk/ir";
import type { StepKind } from "../verify/execution.ts";
import type { Access, Model } from "../verify/model.ts";
import { valueName } from "../verify/report.ts";
import { matrixOf } from "../verify/views.ts";

/** A slot in a step; `entering`: only the reading of its step descriptor. */
export interface Touching {
  readonly slot: number;
  readonly step: number;
  readonly kind: StepKind;
  readonly entering: boolean;
}

export interface Conflict {
  readonly what: string;
  /** `second` reads what `first` has to write before: too early, even if it is always so. */
  readonly isFlow: boolean;
  /** Columns that `first` reads: spoiled if they are written already. */
  readonly read: Access | null;
  /** What each does, as `writes columns 0..16 of x`. */
  readonly first: string;
  readonly second: string;
}

interface Touch extends Access {
  readonly write: boolean;
}

/** All that both touch and at least one writes. */
export function conflictsOf(
  model: Model,
  first: Touching,
  second: Touching,
): readonly Conflict[] {
  return [
    ...descriptorConflicts(model, first, second),
    ...stepConflicts(model, first, second),
    ...stateConflicts(model, first, second),
    ...byteConflicts(model, first, second),
  ];
}

function descriptorConflicts(model: Model, first: Touching, second: Touching): Conflict[] {
  if (!first.entering && !second.entering) return [];
  const writes = ({ slot, entering }: Touching): boolean => {
    const op = model.plan.tasks.op[model.slotTask[slot] ?? -1] ?? -1;
    return !entering && model.ops[op]?.schedule.semantics.traits.effect === true;
  };
  if (!writes(first) && !writes(second)) return [];
  const number = ({ step, entering }: Touching): number => (entering ? step : step + 1);
  if ((number(first) - number(second)) % 2 !== 0) return [];
  const text = (touching: Touching): string =>
    touching.entering
      ? `reads the descriptor of step ${touching.step}`
      : `writes the descriptor of step ${touching.step + 1}`;
  const what = "a step descriptor (two take turns)";
  const [a, b] = [text(first), text(second)];
  return [{ what, isFlow: second.entering, read: null, first: a, second: b }];
}

/** With flags, a step begins when the one before is over: its words are cleared by then. */
function stepConflicts({ plan }: Model, first: Touching, second: Touching): Conflict[] {
  const hasFlags = plan.flags.value.length > 0 || plan.events.manyOnly.includes(1);
  if (!hasFlags || !second.entering || first.entering || first.step !== second.step - 1) return [];
  return [{
    what: "flagged values", isFlow: true, read: null,
    first: `may touch them in step ${first.step}`, second: `begins step ${second.step}`,
  }];
}

function stateConflicts(model: Model, first: Touching, second: Touching): Conflict[] {
  const isSame = first.slot === second.slot && first.step === second.step;
  if (first.entering || second.entering || isSame) return [];
  return model.states(first.slot).flatMap((a) =>
    model.states(second.slot).flatMap((b): Conflict[] => {
      const meet = a.state === b.state && a.lo < b.hi && b.lo < a.hi;
      // Rows of a step are past rows to the next; two steps append different rows.
      const sameRows = first.step === second.step
        ? a.rows === b.rows
        : (first.step < second.step ? b : a).rows === "past";
      if (!meet || !sameRows || (!a.write && !b.write)) return [];
      const what = valueName(model.plan, a.state);
      const text = ({ write, lo, hi, rows }: typeof a): string =>
        `${write ? "writes" : "reads"} columns ${lo}..${hi} of ${rows} rows of ${what}`;
      return [{ what, isFlow: a.write, read: null, first: text(a), second: text(b) }];
    }),
  );
}

function byteConflicts(model: Model, first: Touching, second: Touching): Conflict[] {
  // A task may not read what it overwrites: its warps do not wait for one another.
  const isSame = first.slot === second.slot && first.step === second.step;
  return touches(model, first).flatMap((a) =>
    touches(model, second).flatMap((b): Conflict[] => {
      const isPair = isSame ? !a.write && b.write : a.write || b.write;
      if (!isPair || !shareBytes(model, a, b)) return [];
      const text = ({ value, lo, hi, write }: Touch): string =>
        `${write ? "writes" : "reads"} columns ${lo}..${hi} of ${valueName(model.plan, value)}`;
      const names = [a, b].map(({ value }) => valueName(model.plan, value));
      const what = a.value === b.value ? `${names[0]}` : `bytes of ${names.join(" and of ")}`;
      const isFlow = a.write && !b.write && a.value === b.value && first.step === second.step;
      return [{ what, isFlow, read: a.write ? null : a, first: text(a), second: text(b) }];
    }),
  );
}

function touches(model: Model, { slot, kind, entering }: Touching): readonly Touch[] {
  if (entering) return [];
  const all = [
    ...model.reads(slot).map((access) => ({ ...access, write: false })),
    ...model.writes(slot).map((access) => ({ ...access, write: true })),
  ];
  // Flagged words lie elsewhere in steps of one token, and order themselves.
  return kind === "one" ? all.filter(({ value }) => !model.isFlagged(value)) : all;
}

/** Whether two accesses share a byte of the arena, in any row of the largest step. */
export function shareBytes(model: Model, a: Access, b: Access): boolean {
  const first = rowRanges(model, a);
  return rowRanges(model, b).some(([lo, hi]) => first.some(([x, y]) => lo < y && x < hi));
}

/** Byte ranges in the arena, one a row of the largest step; none for what is not there. */
function rowRanges(
  { plan }: Model,
  { value, lo, hi }: Access,
): readonly (readonly [lo: number, hi: number])[] {
  const place = plan.placements[value];
  const type = plan.program.values[value]?.type;
  if (place?.kind !== "scratch" || type === undefined) return [];
  const { rows, columns } = matrixOf(type, plan.program.limits.maxTokens);
  const bytes = dtypeBytes[type.dtype];
  return Array.from({ length: rows }, (_, row) => {
    const start = place.offsetBytes + row * columns * bytes;
    return [start + lo * bytes, start + hi * bytes] as const;
  });
}
