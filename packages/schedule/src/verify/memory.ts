/** @file Law 6: everything lies where it may, and fits on the machine. */
import { dtypeBytes } from "@mpk/ir";
import type { TensorType } from "@mpk/ir";
import { describeOp } from "../errors.ts";
import type { Model } from "./model.ts";
import { checkRanks, rankOfOps, rankOfSm } from "./ranks.ts";
import { valueName } from "./report.ts";
import type { LawBook } from "./report.ts";
import { matrixOf } from "./views.ts";

/** Bulk copies address 16-byte units. */
const alignment = 16;

export function checkMemory(model: Model, law: LawBook): void {
  checkPlacements(model, law);
  checkViews(model, law);
  checkShared(model, law);
  checkDevice(model, law);
  checkRanks(model, law);
}

function bytesOf(type: TensorType, tokens: number): number {
  const { rows, columns } = matrixOf(type, tokens);
  return rows * columns * dtypeBytes[type.dtype];
}

function checkPlacements(model: Model, law: LawBook): void {
  const { plan } = model;
  const written = new Set<number>();
  for (const { op, view } of model.ops) {
    if (view === null) for (const output of op.outputs) written.add(output);
  }
  const expectedKind = { op: "scratch", input: "step", weight: "weight", state: "state" } as const;
  for (const { id, type, origin } of plan.program.values) {
    const place = plan.placements[id];
    law.count("values");
    if (place === undefined) continue;
    const isView = model.resolve(id).base !== id;
    const kind = isView ? "view" : expectedKind[origin.kind];
    if (place.kind !== kind) {
      law.violate(`${valueName(plan, id)}: is placed as ${place.kind}; it is ${kind}`);
    }
    if (place.kind !== "scratch" || !written.has(id)) continue;
    const bytes = bytesOf(type, plan.program.limits.maxTokens);
    const end = place.offsetBytes + bytes;
    if (end > plan.scratchBytes) {
      law.violate(
        `${valueName(plan, id)}: ends at byte ${end} of an arena of ${plan.scratchBytes}`,
      );
    }
    if (place.bytes !== bytes) {
      law.violate(`${valueName(plan, id)}: is given ${place.bytes} bytes; it needs ${bytes}`);
    }
    if (place.offsetBytes % alignment !== 0) {
      law.violate(
        `${valueName(plan, id)}: starts at byte ${place.offsetBytes}, no multiple of ${alignment}`,
      );
    }
  }
}

/** View placements must say what the view op's meaning says. */
function checkViews(model: Model, law: LawBook): void {
  const { plan } = model;
  const lastRow = new Map<number, boolean>();
  for (const { op, view } of model.ops) {
    const [input = -1] = op.inputs;
    const [output = -1] = op.outputs;
    if (view === null || view.problem !== null) continue;
    law.count("views");
    lastRow.set(output, view.lastRow || lastRow.get(input) === true);
    const { base, column } = model.resolve(output);
    const place = plan.placements[output];
    if (place?.kind !== "view") continue;
    if (place.of === base && place.column === column && place.lastRow === lastRow.get(output)) {
      continue;
    }
    const text = (of: number, from: number, last: boolean): string =>
      `columns from ${from} of ${valueName(plan, of)}${last ? ", last row" : ""}`;
    law.violate(
      `${describeOp(op)}: ${valueName(plan, output)} is placed as ` +
        `${text(place.of, place.column, place.lastRow)}; the op views ` +
        text(base, column, lastRow.get(output) === true),
    );
  }
}

function checkShared(model: Model, law: LawBook): void {
  const { ring, machine } = model.plan;
  const bytes = ring.stages * ring.stageBytes + ring.activationBytes + 2 * ring.partialBytes;
  law.count("shared bytes", bytes);
  if (bytes <= machine.sharedBytes) return;
  law.violate(
    `shared memory: ring, activations and partial sums need ${bytes} bytes; an SM of ` +
      `${machine.name} has ${machine.sharedBytes}`,
  );
}

function checkDevice(model: Model, law: LawBook): void {
  const { plan } = model;
  const { maxContext } = plan.program.limits;
  const positions = plan.pages * plan.pageTokens;
  if (positions < maxContext) {
    law.violate(
      `KV pages: ${plan.pages} of ${plan.pageTokens} positions hold ${positions} of ${maxContext}`,
    );
  }
  const bf16Pair = 2 * dtypeBytes.bf16;
  const ranks = rankOfOps(model);
  for (let rank = 0; rank < plan.ranks; rank++) {
    const mine = model.ops.filter((_, op) => ranks[op] === rank);
    const states = new Set(mine.flatMap(({ op }) => op.states));
    const kv = plan.program.states.reduce((sum, { value, kvHeads, headDim }) =>
      sum + (states.has(value) ? positions * kvHeads * headDim * bf16Pair : 0), 0);
    const streamed = plan.streams.reduce((sum, segments, sm) =>
      rankOfSm(plan, sm) === rank
        ? segments.reduce((s, x) => s + x.chunks * x.chunkBytes, sum) : sum, 0);
    const resident = new Set(
      mine.flatMap(({ op, schedule, instance }) =>
        schedule.packing.resident(instance).map((i) => model.resolve(op.inputs[i] ?? -1).base),
      ),
    );
    let weights = 0;
    for (const value of resident) {
      const type = plan.program.values[value]?.type;
      if (type !== undefined) weights += bytesOf(type, 1);
    }
    const scratch = plan.scratchBytes / plan.ranks;
    const total = scratch + kv + streamed + weights;
    law.count("device bytes", total);
    if (total <= plan.machine.memoryBytes) continue;
    const where = plan.ranks === 1 ? "" : ` of rank ${rank}`;
    law.violate(
      `device memory${where}: ${streamed} bytes of streamed and ${weights} of resident weights, ` +
        `${kv} of KV for ${maxContext} positions and ${scratch} of activations exceed the ` +
        `${plan.machine.memoryBytes} bytes of ${plan.machine.name}; lower maxContext?`,
    );
  }
}
