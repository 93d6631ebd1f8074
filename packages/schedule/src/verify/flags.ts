/**
 * @file Flagged values, for laws 2 and 6: whoever touches one can do it word by word, each word has
 * one writer, and its two copies share no byte with anything. Pure.
 *
 * That no poll can see an older word rests on the step gate, which `races.ts` checks.
 */
import { dtypeBytes } from "@mpk/ir";
import { describeOp } from "../errors.ts";
import type { Model } from "./model.ts";
import { describeTask, taskLine, valueName } from "./report.ts";
import type { LawBook } from "./report.ts";
import { matrixOf } from "./views.ts";

/** Polls are vector loads. */
const vectorBytes = 16;
const wordBytes = 4;

export function checkFlags(model: Model, races: LawBook, memory: LawBook): void {
  if (model.plan.flags.value.length === 0) return;
  checkUsers(model, races);
  checkWords(model, races);
  checkCopies(model, memory);
}

function checkUsers(model: Model, law: LawBook): void {
  const { plan } = model;
  const { ring } = plan;
  const budget = { ...ring, chunkBytes: ring.stageBytes };
  for (const { op, schedule, instance, view } of model.ops) {
    if (view !== null) continue;
    const { flags } = schedule.tiling;
    const polled = flags?.polls(instance, budget) ?? [];
    op.inputs.forEach((input, i) => {
      const { base, column } = model.resolve(input);
      if (!model.isFlagged(base)) return;
      law.count("flagged inputs");
      const type = plan.program.values[input]?.type;
      const bytes = type === undefined ? 1 : dtypeBytes[type.dtype];
      const columns = type === undefined ? 1 : matrixOf(type, 1).columns;
      if (!polled.includes(i)) {
        law.violate(
          `${describeOp(op)}: input ${i} is the flagged ${valueName(plan, base)}, but its tasks ` +
            `cannot poll it`,
        );
      } else if ((column * bytes) % vectorBytes !== 0 || (columns * bytes) % vectorBytes !== 0) {
        law.violate(
          `${describeOp(op)}: input ${i} is columns ${column}..${column + columns} of the flagged ` +
            `${valueName(plan, base)}: not whole vectors of ${vectorBytes} bytes`,
        );
      }
    });
    op.outputs.forEach((output, i) => {
      if (!model.isFlagged(output)) return;
      law.count("flagged outputs");
      if (i === 0 && flags?.stores(instance, budget) === true) return;
      law.violate(
        `${describeOp(op)}: output ${i}, ${valueName(plan, output)}, is flagged, but its tasks ` +
          `cannot store it word by word`,
      );
    });
  }
  for (const [name, value] of Object.entries(plan.program.outputs)) {
    const { base } = model.resolve(value);
    if (!model.isFlagged(base)) continue;
    law.violate(`output ${name}: the host reads ${valueName(plan, base)}, which is flagged`);
  }
}

/** A word is written by one store: no two tasks may share one. */
function checkWords(model: Model, law: LawBook): void {
  const { plan, slotTask } = model;
  for (let slot = 0; slot < model.slots; slot++) {
    for (const { value, lo, hi } of model.writes(slot)) {
      const type = plan.program.values[value]?.type;
      if (!model.isFlagged(value) || type === undefined) continue;
      law.count("flagged writes");
      const columns = wordBytes / dtypeBytes[type.dtype];
      if (lo % columns === 0 && hi % columns === 0) continue;
      const task = slotTask[slot] ?? -1;
      law.violate(
        `${describeTask(plan, task)} writes columns ${lo}..${hi} of the flagged ` +
          `${valueName(plan, value)}: no whole words`,
        [taskLine(plan, task)],
      );
    }
  }
}

function checkCopies(model: Model, law: LawBook): void {
  const { plan } = model;
  const { flags, program, placements, scratchBytes } = plan;
  const end = flags.startBytes + 2 * flags.copyBytes;
  if (end > scratchBytes) {
    law.violate(`copies of flagged values end at byte ${end} of an arena of ${scratchBytes}`);
  }
  if (flags.startBytes % vectorBytes !== 0 || flags.copyBytes % vectorBytes !== 0) {
    law.violate(`copies of flagged values start at no multiple of ${vectorBytes} bytes`);
  }
  const rows = Array.from(flags.value, (value, i) => {
    const type = program.values[value]?.type;
    const lo = flags.offsetBytes[i] ?? 0;
    const isRow = type?.shape[0] === "T" && type.dtype !== "i32" && placements[value]?.kind === "scratch";
    law.count("flagged values");
    if (!isRow) law.violate(`${valueName(plan, value)}: is flagged, but has no rows of words`);
    const bytes = type === undefined ? 0 : matrixOf(type, 1).columns * dtypeBytes[type.dtype];
    if (lo % vectorBytes !== 0 || lo + bytes > flags.copyBytes) {
      law.violate(
        `${valueName(plan, value)}: its ${bytes} bytes at ${lo} do not lie in a copy of ` +
          `${flags.copyBytes} bytes`,
      );
    }
    return { value, lo, hi: lo + bytes };
  }).sort((a, b) => a.lo - b.lo);
  rows.forEach((row, i) => {
    const before = rows[i - 1];
    if (before === undefined || before.hi <= row.lo) return;
    law.violate(
      `${valueName(plan, row.value)} and ${valueName(plan, before.value)} are flagged and share bytes`,
    );
  });
  placements.forEach((place, value) => {
    if (place.kind !== "scratch" || place.bytes === 0) return;
    if (place.offsetBytes >= end || place.offsetBytes + place.bytes <= flags.startBytes) return;
    law.violate(`${valueName(plan, value)}: shares bytes with the copies of flagged values`);
  });
}
