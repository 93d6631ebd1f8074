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

/** Comparing all tasks of a pair is slow; a broken plan shows with few. */
const mostSuspects = 40;

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
        if (suspects.length < mostSuspects) suspects.push({ before: holder, after: version });
        return true;
      });
      const [lo, hi] = [Math.max(piece.lo, version.lo), Math.min(piece.hi, version.hi)];
      if (open.length > 0) kept.push({ lo, hi, holders: open });
    }
    kept.push({ lo: version.lo, hi: version.hi, holders: [version] });
    pieces = kept;
  }
  if (suspects.length > 0) compareTasks(model, touches, suspects, memory, races);
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
      seen.add(key);
      const { rows, columns } = matrixOf(type, maxTokens);
      const lo = place.offsetBytes;
      const hi = lo + rows * columns * dtypeBytes[type.dtype];
      if (touches.values[value] !== undefined) versions.push({ value, step, lo, hi });
    }
  }
  return versions;
}

function compareTasks(
  model: Model,
  touches: Touches,
  suspects: readonly Suspect[],
  memory: LawBook,
  races: LawBook,
): void {
  const { plan, slotSm, slotTask } = model;
  const { start } = plan.order;
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
  });
  for (const { before, after } of suspects) {
    const from = touches.values[before.value];
    const to = touches.values[after.value];
    const sameStep = before.step === after.step;
    const law = sameStep && before.value !== after.value ? memory : races;
    const findings = (to?.writes ?? []).flatMap((write) => {
      const clock = wanted.get(after.step * model.slots + write.slot);
      if (clock == null) return [];
      const early = [...(from?.reads ?? []), ...(from?.writes ?? [])].find((use) => {
        const sm = slotSm[use.slot] ?? 0;
        const length = (start[sm + 1] ?? 0) - (start[sm] ?? 0);
        const done = before.step * length + (touches.place[use.slot] ?? 0);
        return (clock[sm] ?? 0) < done && meet(model, before, use, after, write);
      });
      return early === undefined ? [] : [{ early, write }];
    });
    const [found] = findings;
    if (found === undefined) continue;
    const [a, b] = [slotTask[found.early.slot] ?? -1, slotTask[found.write.slot] ?? -1];
    const when = sameStep ? "in the same step" : `in the ${after.step - before.step}. step after`;
    law.violate(
      `${describeTask(plan, b)} overwrites bytes of ${valueName(plan, before.value)} with ` +
        `${valueName(plan, after.value)} ${when}, not waiting for ${describeTask(plan, a)}`,
      [
        taskLine(plan, a, `uses ${valueName(plan, before.value)} at bytes ${before.lo}..`),
        taskLine(plan, b, `writes ${valueName(plan, after.value)} at bytes ${after.lo}..`),
        "no chain of program order and events leads from the first to the second",
      ],
    );
  }
}

/** Whether two column ranges share a byte of the arena, in any row. */
function meet(model: Model, u: Version, a: Span, v: Version, b: Span): boolean {
  const rowsOf = (version: Version, span: Span): readonly (readonly [number, number])[] => {
    const type = model.plan.program.values[version.value]?.type;
    if (type === undefined) return [];
    const { rows, columns } = matrixOf(type, model.plan.program.limits.maxTokens);
    const bytes = dtypeBytes[type.dtype];
    return Array.from({ length: rows }, (_, row) => [
      version.lo + (row * columns + span.lo) * bytes,
      version.lo + (row * columns + span.hi) * bytes,
    ] as const);
  };
  const second = rowsOf(v, b);
  return rowsOf(u, a).some(([lo, hi]) => second.some(([from, to]) => from < hi && lo < to));
}

