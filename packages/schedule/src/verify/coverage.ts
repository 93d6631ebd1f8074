/** @file Law 1: every tile runs once, every element read has exactly one writer. */
import { describeOp } from "../errors.ts";
import type { Model } from "./model.ts";
import { describeTask, openLaw, taskLine, valueName } from "./report.ts";
import type { LawBook, LawReport } from "./report.ts";
import { matrixOf } from "./views.ts";

/** A half-open interval and the slot it comes from. */
export interface Span {
  readonly lo: number;
  readonly hi: number;
  readonly slot: number;
}

export function checkCoverage(model: Model): LawReport {
  const law = openLaw("coverage");
  checkTiles(model, law);
  const gaps = checkWrites(model, law);
  checkReads(model, law, gaps);
  checkWeights(model, law);
  checkStates(model, law);
  return law.close();
}

/**
 * Sorted by `lo`. Calls `onGap` for what no span covers of [0, size) and `onOverlap` for spans
 * that meet.
 */
export function sweep(
  spans: readonly Span[],
  size: number,
  onGap: (lo: number, hi: number) => void,
  onOverlap: (a: Span, b: Span) => void,
): void {
  let reached: Span = { lo: 0, hi: 0, slot: -1 };
  for (const span of spans) {
    if (span.lo > reached.hi) onGap(reached.hi, span.lo);
    if (span.lo < reached.hi) onOverlap(reached, span);
    if (span.hi > reached.hi) reached = span;
  }
  if (reached.hi < size) onGap(reached.hi, size);
}

function checkTiles(model: Model, law: LawBook): void {
  const { plan, slotTask, slotSm } = model;
  for (let slot = 0; slot < model.slots; slot++) {
    const task = slotTask[slot] ?? -1;
    if (plan.tasks.sm[task] === slotSm[slot]) continue;
    law.violate(`${describeTask(plan, task)} is in the order of SM ${slotSm[slot]}`, [
      taskLine(plan, task),
    ]);
  }
  model.ops.forEach(({ op, tiles, view }, index) => {
    law.count("ops");
    const spans: Span[] = (model.opSlots[index] ?? []).map((slot) => {
      const task = slotTask[slot] ?? -1;
      return { lo: plan.tasks.tileLo[task] ?? 0, hi: plan.tasks.tileHi[task] ?? 0, slot };
    });
    law.count("tiles", tiles);
    if (view?.problem != null) {
      law.violate(`${describeOp(op)}: has no tiles, so it must be a view, but ${view.problem}`);
    }
    spans.sort((a, b) => a.lo - b.lo);
    const lines = spans.slice(0, 2).map(({ slot }) => taskLine(plan, slotTask[slot] ?? -1));
    sweep(
      spans, tiles,
      (lo, hi) => law.violate(`${describeOp(op)}: tiles ${lo}..${hi} are run by no task`, lines),
      (a, b) => law.violate(
        `${describeOp(op)}: tiles ${b.lo}..${Math.min(a.hi, b.hi)} are run twice`,
        [a, b].map(({ slot }) => taskLine(plan, slotTask[slot] ?? -1)),
      ),
    );
    const beyond = spans.find(({ hi }) => hi > tiles);
    if (beyond !== undefined) {
      const task = slotTask[beyond.slot] ?? -1;
      law.violate(`${describeTask(plan, task)}: the op has ${tiles} tiles`, [taskLine(plan, task)]);
    }
  });
}

/** Columns that nobody writes, by value. */
type Gaps = ReadonlyMap<number, readonly { lo: number; hi: number }[]>;

function checkWrites(model: Model, law: LawBook): Gaps {
  const { plan, slotTask } = model;
  const written = new Map<number, Span[]>();
  for (let slot = 0; slot < model.slots; slot++) {
    for (const { value, lo, hi } of model.writes(slot)) {
      const spans = written.get(value) ?? [];
      spans.push({ lo, hi, slot });
      written.set(value, spans);
    }
  }
  const gaps = new Map<number, { lo: number; hi: number }[]>();
  for (const { id, type, origin } of plan.program.values) {
    if (origin.kind !== "op" || model.resolve(id).base !== id) continue;
    const { columns } = matrixOf(type, 1);
    const spans = (written.get(id) ?? []).sort((a, b) => a.lo - b.lo);
    const mine: { lo: number; hi: number }[] = [];
    law.count("writes", spans.length);
    sweep(
      spans, columns,
      (lo, hi) => mine.push({ lo, hi }),
      (a, b) => law.violate(
        `${valueName(plan, id)}: columns ${b.lo}..${Math.min(a.hi, b.hi)} have two writers`,
        [a, b].map(({ slot }) => taskLine(plan, slotTask[slot] ?? -1)),
      ),
    );
    const beyond = spans.find(({ hi }) => hi > columns);
    if (beyond !== undefined) {
      const task = slotTask[beyond.slot] ?? -1;
      law.violate(
        `${describeTask(plan, task)} writes ${valueName(plan, id)} up to column ${beyond.hi} ` +
          `of ${columns}`,
        [taskLine(plan, task)],
      );
    }
    if (mine.length > 0) gaps.set(id, mine);
  }
  for (const [name, value] of Object.entries(plan.program.outputs)) {
    const gap = gaps.get(model.resolve(value).base)?.[0];
    if (gap === undefined) continue;
    law.violate(`output ${name}: nobody writes columns ${gap.lo}..${gap.hi}`);
  }
  return gaps;
}

function checkReads(model: Model, law: LawBook, gaps: Gaps): void {
  const { plan, slotTask } = model;
  for (let slot = 0; slot < model.slots; slot++) {
    for (const { value, lo, hi } of model.reads(slot)) {
      law.count("reads");
      const type = plan.program.values[value]?.type;
      const columns = type === undefined ? 0 : matrixOf(type, 1).columns;
      const gap = gaps.get(value)?.find((g) => g.lo < hi && lo < g.hi);
      if (gap === undefined && lo >= 0 && hi <= columns) continue;
      const task = slotTask[slot] ?? -1;
      const missing =
        gap === undefined ? `it has ${columns}` : `nobody writes ${gap.lo}..${gap.hi}`;
      law.violate(
        `${describeTask(plan, task)} reads columns ${lo}..${hi} of ${valueName(plan, value)}; ` +
          missing,
        [taskLine(plan, task)],
      );
    }
  }
}

/** Weights come by the stream or are resident; nothing else brings their bytes. */
function checkWeights(model: Model, law: LawBook): void {
  const { plan } = model;
  model.ops.forEach(({ op, schedule, instance, view }, index) => {
    if (view !== null) return;
    const layout = plan.layouts[index] ?? null;
    const known = new Set([...schedule.packing.resident(instance), ...(layout?.weights ?? [])]);
    op.inputs.forEach((value, input) => {
      const base = model.resolve(value).base;
      if (plan.program.values[base]?.origin.kind !== "weight") return;
      law.count("weights");
      if (known.has(input)) return;
      law.violate(
        `${describeOp(op)}: input ${input} is the weight ${valueName(plan, base)}, ` +
          `which is neither streamed nor resident`,
      );
    });
  });
}

function checkStates(model: Model, law: LawBook): void {
  const { plan, slotTask } = model;
  const appended = new Map<number, Span[]>(plan.program.states.map((s) => [s.value, []]));
  for (let slot = 0; slot < model.slots; slot++) {
    for (const access of model.states(slot)) {
      if (!access.write) continue;
      appended.get(access.state)?.push({ lo: access.lo, hi: access.hi, slot });
    }
  }
  for (const { value, kvHeads, headDim } of plan.program.states) {
    const spans = (appended.get(value) ?? []).sort((a, b) => a.lo - b.lo);
    law.count("kv heads", kvHeads);
    const head = (column: number): string => `${valueName(plan, value)}: KV head ${
      Math.floor(column / headDim)}`;
    sweep(
      spans, kvHeads * headDim,
      (lo) => law.violate(`${head(lo)} is appended by no task`),
      (a, b) => law.violate(
        `${head(b.lo)} is appended twice in a step`,
        [a, b].map(({ slot }) => taskLine(plan, slotTask[slot] ?? -1)),
      ),
    );
  }
}
