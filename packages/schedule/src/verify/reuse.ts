/**
 * @file Reuse of scratch bytes: an overwrite comes after every use of what was there, in a step
 * and from step to step. Pure.
 *
 * Values are laid over the arena in the order in which they are first written. Where the users of
 * the earlier one all come before the writers of the later one, order is transitive and only
 * neighbours need a look. Where they do not, every pair of tasks is compared byte by byte, and
 * either order will do.
 */
import { dtypeBytes } from "@mpk/ir";
import type { Happening } from "./evidence.ts";
import { execute, reaches } from "./execution.ts";
import type { Execution, StepKind } from "./execution.ts";
import type { Model } from "./model.ts";
import type { WriterClocks } from "./races.ts";
import { describeTask, taskLine, valueName } from "./report.ts";
import type { LawBook } from "./report.ts";
import type { Span } from "./coverage.ts";
import type { Touches } from "./touches.ts";
import { matrixOf } from "./views.ts";

/** A value in a step, on its bytes of the arena. */
interface Version {
  readonly value: number;
  readonly step: number;
  readonly lo: number;
  readonly hi: number;
}

interface Piece {
  readonly lo: number;
  readonly hi: number;
  readonly holders: readonly Version[];
}

interface Suspect {
  readonly before: Version;
  readonly after: Version;
}

/** Pairs compared at a time: the clocks of their writers are kept meanwhile. */
const suspectsAtOnce = 64;
/** A broken plan need not be shown broken more often. */
const enoughFindings = 20;

/** Tells `memory` what a step does to its own buffers, `races` what it does to another's. */
export function checkReuse(
  model: Model,
  touches: Touches,
  execution: Execution,
  clocks: WriterClocks,
  memory: LawBook,
  races: LawBook,
): void {
  const suspects: Suspect[] = [];
  const outputs = outputNames(model);
  let pieces: Piece[] = [];
  for (const version of versionsInOrder(model, touches, execution)) {
    const kept: Piece[] = [];
    for (const piece of pieces) {
      if (piece.hi <= version.lo || version.hi <= piece.lo) {
        kept.push(piece);
        continue;
      }
      if (piece.lo < version.lo) kept.push({ ...piece, hi: version.lo });
      if (version.hi < piece.hi) kept.push({ ...piece, lo: version.hi });
      const open = piece.holders.filter((holder) => {
        memory.count("reuses");
        const output = outputs.get(holder.value);
        if (output !== undefined && holder.step === version.step) {
          const name = valueName(model.plan, version.value);
          memory.violate(`output ${output}: ${name} overwrites it before the step is over`);
        }
        const clock = clocks[version.step]?.[version.value];
        const last = touches.values[holder.value]?.lastTouch;
        if (clock === undefined || last === undefined) return false;
        if (reaches(clock, last, model.plan.order.start, holder.step)) return false;
        suspects.push({ before: holder, after: version });
        return true;
      });
      const [lo, hi] = [Math.max(piece.lo, version.lo), Math.min(piece.hi, version.hi)];
      if (open.length > 0) kept.push({ lo, hi, holders: open });
    }
    kept.push({ lo: version.lo, hi: version.hi, holders: [version] });
    pieces = kept;
  }
  let found = 0;
  for (let i = 0; i < suspects.length && found < enoughFindings; i += suspectsAtOnce) {
    const some = suspects.slice(i, i + suspectsAtOnce);
    found += compareTasks(model, touches, execution, some, memory, races);
  }
}

/** By base value, the output that it holds: it can be read until its step is over. */
function outputNames({ plan, resolve }: Model): ReadonlyMap<number, string> {
  const named = Object.entries(plan.program.outputs);
  return new Map(named.map(([name, value]) => [resolve(value).base, name]));
}

/** Only values with writers and bytes; in the order of their first write. */
function versionsInOrder(
  model: Model,
  touches: Touches,
  execution: Execution,
): readonly Version[] {
  const { plan } = model;
  const { maxTokens } = plan.program.limits;
  const seen = new Set<number>();
  const versions: Version[] = [];
  const count = plan.program.values.length;
  for (let i = 0; i < execution.executed; i++) {
    const at = execution.timeline[i] ?? 0;
    const step = Math.floor(at / model.slots);
    for (const { value } of model.writes(at % model.slots)) {
      const place = plan.placements[value];
      const type = plan.program.values[value]?.type;
      const key = step * count + value;
      if (place?.kind !== "scratch" || type === undefined || seen.has(key)) continue;
      // Then it lies in its copies, which it shares with nothing.
      if (execution.kinds[step] === "one" && model.isFlagged(value)) continue;
      seen.add(key);
      const { rows, columns } = matrixOf(type, maxTokens);
      const lo = place.offsetBytes;
      const hi = lo + rows * columns * dtypeBytes[type.dtype];
      if (touches.values[value] !== undefined) versions.push({ value, step, lo, hi });
    }
  }
  return versions;
}

/** Compares the pairs task by task, byte by byte; the number of those that break a law. */
function compareTasks(
  model: Model,
  touches: Touches,
  { kinds }: Execution,
  suspects: readonly Suspect[],
  memory: LawBook,
  races: LawBook,
): number {
  const isBefore = orderOfWrites(model, touches, kinds, suspects);
  let found = 0;
  for (const { before, after } of suspects) {
    const pair = brokenPair(model, touches, before, after, isBefore);
    if (pair === null) continue;
    found++;
    const sameStep = before.step === after.step;
    blame(model, pair, kinds, sameStep && before.value !== after.value ? memory : races);
  }
  return found;
}

/** A task's touch of a version. */
interface Use {
  readonly of: Version;
  readonly span: Span;
}

interface Pair {
  readonly first: Use;
  readonly second: Use;
}

type IsBefore = (use: Use, write: Use) => boolean;

/** Whether a use is over before a write of one of the suspects starts. */
function orderOfWrites(
  model: Model,
  touches: Touches,
  kinds: readonly StepKind[],
  suspects: readonly Suspect[],
): IsBefore {
  const { slots, slotSm, plan } = model;
  const { start } = plan.order;
  const wanted = new Map<number, Int32Array | null>();
  for (const { value, step } of suspects.flatMap(({ before, after }) => [before, after])) {
    for (const { slot } of touches.values[value]?.writes ?? []) {
      wanted.set(step * slots + slot, null);
    }
  }
  // The clocks of all tasks would be large; run again and keep those in question.
  execute(model, {
    onStart: (slot, step, clock) => {
      const key = step * slots + slot;
      if (wanted.has(key)) wanted.set(key, clock.slice());
    },
  }, kinds);
  return (use, write) => {
    const clock = wanted.get(write.of.step * slots + write.span.slot);
    const sm = slotSm[use.span.slot] ?? 0;
    const length = (start[sm + 1] ?? 0) - (start[sm] ?? 0);
    const done = use.of.step * length + (touches.place[use.span.slot] ?? 0);
    // A write that never starts, in a plan that gets stuck, overwrites nothing.
    return clock == null || (clock[sm] ?? 0) >= done;
  };
}

/**
 * Where a write of each version meet, all that use the earlier one's bytes there must be over
 * before the later one starts, whichever of the two is the earlier. A use and a write for which
 * that fails, or null.
 */
function brokenPair(
  model: Model,
  touches: Touches,
  u: Version,
  v: Version,
  isBefore: IsBefore,
): Pair | null {
  const usesOf = (of: Version, kind: "reads" | "writes"): readonly Use[] =>
    (touches.values[of.value]?.[kind] ?? []).map((span) => ({ of, span }));
  const [readsOfU, readsOfV] = [usesOf(u, "reads"), usesOf(v, "reads")];
  const written = usesOf(v, "writes");
  for (const x of usesOf(u, "writes")) {
    for (const y of written) {
      if (!meet(model, x, y)) continue;
      const [isXFirst, isYFirst] = [isBefore(x, y), isBefore(y, x)];
      if (!isXFirst && !isYFirst) return { first: x, second: y };
      const second = isXFirst ? y : x;
      const late = (isXFirst ? readsOfU : readsOfV).find(
        (read) => meet(model, read, second) && !isBefore(read, second),
      );
      if (late !== undefined) return { first: late, second };
    }
  }
  return null;
}

function blame(
  model: Model,
  { first, second }: Pair,
  kinds: readonly StepKind[],
  law: LawBook,
): void {
  const { plan, slotSm, slotTask } = model;
  const [a, b] = [slotTask[first.span.slot] ?? -1, slotTask[second.span.slot] ?? -1];
  const at = ({ of, span }: Use): Happening => {
    const sm = slotSm[span.slot] ?? 0;
    const place = span.slot - (plan.order.start[sm] ?? 0);
    return { sm, place, step: of.step, entering: false };
  };
  const steps = second.of.step - first.of.step;
  const other = steps > 0 ? "in a later step" : "in an earlier step";
  const when = steps === 0 ? "in the same step" : other;
  const names = [valueName(plan, first.of.value), valueName(plan, second.of.value)];
  const told = first.span.slot === second.span.slot && steps === 0
    ? "which it reads itself" : `not waiting for ${describeTask(plan, a)}`;
  law.violate(
    `${describeTask(plan, b)} overwrites bytes of ${names[0]} with ${names[1]} ${when}, ${told}`,
    [
      taskLine(plan, a, `uses ${names[0]} at bytes ${first.of.lo}..`),
      taskLine(plan, b, `writes ${names[1]} at bytes ${second.of.lo}..`),
      "no chain of program order and events leads from the first to the second",
    ],
    {
      kind: "race", kinds, what: `bytes of ${names[0]} and ${names[1]}`,
      first: at(first), second: at(second),
    },
  );
}

/**
 * Whether two column ranges share a byte of the arena, in any row. Rows lie at the same bytes
 * whatever T is, so the most rows show every overlap of fewer.
 */
function meet(model: Model, a: Use, b: Use): boolean {
  const { program } = model.plan;
  const rowsOf = ({ of, span }: Use) => {
    const type = program.values[of.value]?.type ?? { dtype: "f32", shape: [0, 0] };
    const { rows, columns } = matrixOf(type, program.limits.maxTokens);
    const bytes = dtypeBytes[type.dtype];
    const width = (span.hi - span.lo) * bytes;
    return { rows, stride: columns * bytes, lo: of.lo + span.lo * bytes, width };
  };
  const [first, second] = [rowsOf(a), rowsOf(b)];
  for (let row = 0; row < first.rows; row++) {
    const lo = first.lo + row * first.stride;
    for (let other = 0; other < second.rows; other++) {
      const from = second.lo + other * second.stride;
      if (from < lo + first.width && lo < from + second.width) return true;
    }
  }
  return false;
}
