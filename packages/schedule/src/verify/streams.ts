/** @file Law 5: what the producer issues is what the consumers take, through a sound ring. */
import type { PackingBudget, StreamLayout } from "../contracts.ts";
import { describeOp } from "../errors.ts";
import type { Plan, StreamSegment } from "../plan.ts";
import type { Model } from "./model.ts";
import { describeTask, openLaw, taskLine } from "./report.ts";
import type { LawBook, LawReport } from "./report.ts";

/** A K block of `mma-a-bf16`: 16 rows of 32 bf16. */
const blockBytes = 1024;
const blockColumns = 32;

/** The shared memory that the plan gives its ops. */
const budgetOf = ({ ring }: Plan): PackingBudget => ({
  activationBytes: ring.activationBytes,
  partialBytes: ring.partialBytes,
  chunkBytes: ring.stageBytes,
  consumerWarps: ring.consumerWarps,
  stages: ring.stages,
});

/** Ops say by throwing that they cannot be packed into so little: then no other law can be asked. */
export function checkPackable(model: Model): LawReport {
  const law = openLaw("streams");
  const budget = budgetOf(model.plan);
  const asked = new Set<object>();
  for (const { op, schedule, instance, view } of model.ops) {
    if (view !== null || asked.has(instance)) continue;
    asked.add(instance);
    try {
      schedule.packing.stream(instance, budget);
    } catch (error) {
      law.violate(`${describeOp(op)}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return law.close();
}

export function checkStreams(model: Model): LawReport {
  const law = openLaw("streams");
  checkRing(model, law);
  checkLayouts(model, law);
  for (let sm = 0; sm < model.plan.machine.sms; sm++) checkStream(model, sm, law);
  return law.close();
}

function checkRing(model: Model, law: LawBook): void {
  const { stages, consumerWarps, maxInFlight } = model.plan.ring;
  law.count("ring stages", stages);
  if (stages % consumerWarps !== 0) {
    law.violate(
      `ring: ${stages} stages are no multiple of ${consumerWarps} consumer warps; a stage would ` +
        `pass from warp to warp, and one a lap ahead takes the old phase for the new`,
    );
  }
  // With fewer, the producer would wait for a chunk whose stage it has filled anew.
  if (stages < maxInFlight) {
    law.violate(`ring: ${maxInFlight} chunks in flight need as many stages, there are ${stages}`);
  }
}

function checkLayouts(model: Model, law: LawBook): void {
  const { plan } = model;
  const { ring } = plan;
  const budget = budgetOf(plan);
  const asked = new Map<object, string>();
  model.ops.forEach(({ op, schedule, instance, view }, index) => {
    if (view !== null) return;
    const layout = plan.layouts[index] ?? null;
    let expected = asked.get(instance);
    if (expected === undefined) {
      expected = layoutText(schedule.packing.stream(instance, budget));
      asked.set(instance, expected);
    }
    if (layoutText(layout) !== expected) {
      law.violate(
        `${describeOp(op)}: its layout is ${layoutText(layout)}; the op packs as ${expected}`,
      );
    }
    if (layout === null) return;
    law.count("streamed ops");
    if (layout.blocksPerChunk * blockBytes > ring.stageBytes) {
      law.violate(
        `${describeOp(op)}: chunks of ${layout.blocksPerChunk * blockBytes} bytes overflow a ` +
          `stage of ${ring.stageBytes}`,
      );
    }
    if (layout.chunksPerTile * layout.blocksPerChunk * layout.folds * blockColumns < layout.k) {
      law.violate(
        `${describeOp(op)}: ${layout.chunksPerTile} chunks do not hold ${layout.k} columns`,
      );
    }
  });
}

function layoutText(layout: StreamLayout | null): string {
  return JSON.stringify(layout, layout === null ? null : Object.keys(layout).sort());
}

/** Segments in task order, one after the other, each as long as its task consumes. */
function checkStream(model: Model, sm: number, law: LawBook): void {
  const { plan, slotTask } = model;
  const segments = plan.streams[sm] ?? [];
  const expected: StreamSegment[] = [];
  let offsetBytes = 0;
  for (let slot = plan.order.start[sm] ?? 0; slot < (plan.order.start[sm + 1] ?? 0); slot++) {
    const task = slotTask[slot] ?? -1;
    const layout = plan.layouts[plan.tasks.op[task] ?? -1] ?? null;
    if (layout === null) continue;
    const tiles = (plan.tasks.tileHi[task] ?? 0) - (plan.tasks.tileLo[task] ?? 0);
    const chunkBytes = layout.blocksPerChunk * blockBytes;
    const chunks = tiles * layout.chunksPerTile;
    expected.push({ task, offsetBytes, chunks, chunkBytes });
    offsetBytes += chunks * chunkBytes;
  }
  law.count("segments", expected.length);
  law.count("chunks", expected.reduce((sum, { chunks }) => sum + chunks, 0));
  for (let i = 0; i < Math.max(expected.length, segments.length); i++) {
    const [want, got] = [expected[i], segments[i]];
    if (want !== undefined && got !== undefined && sameSegment(want, got)) continue;
    law.violate(
      `stream of SM ${sm}, segment ${i}: the consumers take ${segmentText(model, want)}, the ` +
        `producer issues ${segmentText(model, got)}`,
      [want, got].flatMap((s) => (s === undefined ? [] : [taskLine(plan, s.task)])),
    );
    return;
  }
}

function sameSegment(a: StreamSegment, b: StreamSegment): boolean {
  return (
    a.task === b.task && a.offsetBytes === b.offsetBytes &&
    a.chunks === b.chunks && a.chunkBytes === b.chunkBytes
  );
}

function segmentText(model: Model, segment: StreamSegment | undefined): string {
  if (segment === undefined) return "nothing";
  const { task, offsetBytes, chunks, chunkBytes } = segment;
  return (
    `${chunks} chunks of ${chunkBytes} bytes at ${offsetBytes} for ` +
    describeTask(model.plan, task)
  );
}
