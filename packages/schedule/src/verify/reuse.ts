/**
 * @file Reuse of scratch bytes: an overwrite comes after every use of what was there, in a step
 * and from step to step. Pure.
 *
 * Values are laid over the arena in the order in which they are first written. Where the users of
 * the earlier one all come before the writers of the later one, order is transitive and only
 * neighbours need a look. Where they do not, every pair of tasks is compared byte by byte.
 */
import { dtypeBytes } from "@mpk/ir";
import { execute, reaches } from "./execution.ts";
import type { Execution } from "./execution.ts";
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
  const wanted = new Map<number, Int32Array | null>();
  for (const { after } of suspects) {
    for (const { slot } of touches.values[after.value]?.writes ?? []) {
      wanted.set(after.step * model.slots + slot, null);
    }
  }
  // The clocks of all tasks would be large; run again and keep those in question.
  execute(model, {
    onStart: (slot, step, clock) => {
      const key = step * model.slots + slot;
      if (wanted.has(key)) wanted.set(key, clock.slice());
    },
  }, kinds);
  let found = 0;
  for (const suspect of suspects) {
    const pair = unorderedPair(model, touches, suspect, wanted);
    if (pair === null) continue;
    found++;
    const { before, after } = suspect;
    const sameStep = before.step === after.step;
    blame(model, suspect, pair, sameStep && before.value !== after.value ? memory : races);
  }
  return found;
}

interface Pair {
  readonly use: Span;
  readonly write: Span;
}

/** A use of the earlier value and a write of the later one that meet and are not ordered. */
function unorderedPair(
  model: Model,
  touches: Touches,
  { before, after }: Suspect,
  clocks: ReadonlyMap<number, Int32Array | null>,
): Pair | null {
  const { start } = model.plan.order;
  const from = touches.values[before.value];
  const uses = [...(from?.reads ?? []), ...(from?.writes ?? [])];
  for (const write of touches.values[after.value]?.writes ?? []) {
    const clock = clocks.get(after.step * model.slots + write.slot);
    if (clock == null) continue;
    const use = uses.find((candidate) => {
      const sm = model.slotSm[candidate.slot] ?? 0;
      const length = (start[sm + 1] ?? 0) - (start[sm] ?? 0);
      const done = before.step * length + (touches.place[candidate.slot] ?? 0);
      return (clock[sm] ?? 0) < done && meet(model, before, candidate, after, write);
    });
    if (use !== undefined) return { use, write };
  }
  return null;
}

function blame(model: Model, { before, after }: Suspect, pair: Pair, law: LawBook): void {
  const { plan, slotSm, slotTask } = model;
  const [a, b] = [slotTask[pair.use.slot] ?? -1, slotTask[pair.write.slot] ?? -1];
  const [first, second] = ([[pair.use, before], [pair.write, after]] as const).map(
    ([{ slot }, { step }]) => {
      const sm = slotSm[slot] ?? 0;
      return { sm, place: slot - (plan.order.start[sm] ?? 0), step, entering: false };
    },
  );
  if (first === undefined || second === undefined) return;
  const when = before.step === after.step
    ? "in the same step" : `in the ${after.step - before.step}. step after`;
  const names = [valueName(plan, before.value), valueName(plan, after.value)];
  law.violate(
    `${describeTask(plan, b)} overwrites bytes of ${names[0]} with ${names[1]} ${when}, ` +
      `not waiting for ${describeTask(plan, a)}`,
    [
      taskLine(plan, a, `uses ${names[0]} at bytes ${before.lo}..`),
      taskLine(plan, b, `writes ${names[1]} at bytes ${after.lo}..`),
      "no chain of program order and events leads from the first to the second",
    ],
    { kind: "race", what: `bytes of ${names[0]} and ${names[1]}`, first, second },
  );
}

/**
 * Whether two column ranges share a byte of the arena, in any row. Rows lie at the same bytes
 * whatever T is, so the most rows show every overlap of fewer.
 */
function meet(model: Model, u: Version, a: Span, v: Version, b: Span): boolean {
  const { program } = model.plan;
  const rowsOf = (version: Version, { lo, hi }: Span) => {
    const type = program.values[version.value]?.type ?? { dtype: "f32", shape: [0, 0] };
    const { rows, columns } = matrixOf(type, program.limits.maxTokens);
    const bytes = dtypeBytes[type.dtype];
    return { rows, stride: columns * bytes, lo: version.lo + lo * bytes, width: (hi - lo) * bytes };
  };
  const [first, second] = [rowsOf(u, a), rowsOf(v, b)];
  for (let row = 0; row < first.rows; row++) {
    const lo = first.lo + row * first.stride;
    for (let other = 0; other < second.rows; other++) {
      const from = second.lo + other * second.stride;
      if (from < lo + first.width && lo < from + second.width) return true;
    }
  }
  return false;
}
