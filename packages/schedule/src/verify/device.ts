/**
 * @file Law 7: what the kernel adds below the Plan holds for this plan: chunk numbers, barrier
 * phases, counters that wrap, the step event, and room for every number of tokens. Pure.
 *
 * Barrier phases. A test for the parity of phase k is right while the barrier is in phase k or
 * k + 1. `full` of a stage: its warp, always the same, has seen phase k - 1 over, and the producer
 * fills the stage anew only once that warp has released it. `empty`: the producer has seen phase
 * k - 1 over before it filled the stage, and the warp releases it once for that. The producer's own
 * wait for a chunk `maxInFlight` back is right as long as that chunk's stage has not been filled
 * anew: stages >= maxInFlight. All of it needs stage, phase and warp of a chunk to be the same
 * after its number started over. An op may give a chunk to another warp than that of its number
 * (`TaskRoom`) if a barrier of all warps lies between a stage's chunk and its next. What an op takes of
 * cached state goes by the rule, in numbers that producer and consumers compute alike.
 *
 * The producer does not number chunks: it carries stage and phase on from chunk to chunk.
 *
 * Abort. A producer that waits looks at the abort word and the clock now and then and tells its SM;
 * every wait of a consumer for a counter, a word or a filled stage looks at that now and then and gives
 * up; an SM that is told triggers nothing more and leaves at the next step. No one is left behind:
 * the token choice of a step comes after every SM has begun the step before (law 2), so without
 * that SM at most one more step is opened, and whoever waits in it or for the next gives up too. A
 * producer keeps the watch until its SM leaves, and then waits only for copies under way, which no one
 * else completes; a stage released too often by a consumer that gave up concerns `empty` alone.
 */
import type { StreamLayout } from "../contracts.ts";
import { describeOp } from "../errors.ts";
import { chunkLap, kernelProtocol } from "../kernel.ts";
import type { Plan } from "../plan.ts";
import type { Model } from "./model.ts";
import { describeTask, openLaw, taskLine } from "./report.ts";
import type { LawBook, LawReport } from "./report.ts";

const wordLimit = 2 ** kernelProtocol.wordBits;

export function checkDevice(model: Model): LawReport {
  const law = openLaw("device");
  checkNumbers(model, law);
  checkCounters(model, law);
  checkStepEvent(model, law);
  checkRoom(model, law);
  return law.close();
}

/** Stage, phase and warp of a chunk survive its number's starting over, and no number overflows. */
function checkNumbers(model: Model, law: LawBook): void {
  const { plan } = model;
  const { stages, consumerWarps } = plan.ring;
  const lap = chunkLap(stages);
  if (lap % (2 * stages) !== 0 || lap % consumerWarps !== 0) {
    law.violate(
      `ring: chunk numbers start over every ${lap}, which is no multiple of two rounds of ` +
        `${stages} stages and of ${consumerWarps} warps: a chunk would change stage, phase or warp`,
    );
  }
  const cached = cachedChunks(model);
  plan.streams.forEach((segments, sm) => {
    const streamed = segments.reduce((sum, segment) => sum + segment.chunks, 0);
    const chunks = streamed + (cached[sm] ?? 0);
    law.count("rings");
    // Numbers start over only between steps.
    if (2 * lap + chunks <= wordLimit) return;
    law.violate(
      `SM ${sm}: a step of ${chunks} chunks on a ring of ${stages} stages numbers chunks up to ` +
        `${2 * lap + chunks}, beyond ${kernelProtocol.wordBits} bits; use fewer stages`,
    );
  });
}

/** By SM, the most chunks of cached state that its tasks take through the ring in a step. */
function cachedChunks({ plan, ops }: Model): Float64Array {
  const { ring, program, tasks } = plan;
  const budget = { ...ring, chunkBytes: ring.stageBytes };
  const ofTile = new Map<object, number>();
  const perSm = new Float64Array(plan.streams.length);
  for (let task = 0; task < tasks.count; task++) {
    const op = ops[tasks.op[task] ?? -1];
    if (op?.schedule.packing.cachedChunks === undefined) continue;
    const { instance, schedule } = op;
    const chunks = ofTile.get(instance) ??
      schedule.packing.cachedChunks?.(instance, budget, program.limits.maxContext) ?? 0;
    ofTile.set(instance, chunks);
    const [sm, tiles] = [tasks.sm[task] ?? 0, (tasks.tileHi[task] ?? 0) - (tasks.tileLo[task] ?? 0)];
    perSm[sm] = (perSm[sm] ?? 0) + tiles * chunks;
  }
  return perSm;
}

/**
 * While an SM waits in step n, every SM has begun step n - 1 and none is beyond step n + 2 (law 2,
 * the step descriptor). So a count is within three thresholds of any target, and a difference below
 * half a word is told from its sign, however often counts and targets wrap around.
 */
function checkCounters({ plan }: Model, law: LawBook): void {
  const { events, program } = plan;
  const half = wordLimit / 2;
  events.threshold.forEach((threshold, event) => {
    law.count("counters");
    if (3 * threshold < half) return;
    law.violate(
      `event ${event}: counts may be ${3 * threshold} from a target, and are told apart below ${half}`,
    );
  });
  if (events.count >= 2 ** kernelProtocol.manyOnlyBit) {
    law.violate(`${events.count} events do not fit ${kernelProtocol.manyOnlyBit} bits`);
  }
  // A step takes at least one position, and the kernel ends a launch whose context is full.
  const steps = program.limits.maxContext;
  law.count("steps in a launch at most", steps);
  if (steps >= wordLimit) {
    law.violate(`a launch of ${steps} steps does not fit ${kernelProtocol.wordBits} bits`);
  }
  if (program.ops.length > 2 ** kernelProtocol.reportedOpBits) {
    law.violate(`${program.ops.length} ops: reports name ${2 ** kernelProtocol.reportedOpBits}`);
  }
}

/** The kernel opens a step by one counter: that of the one task that chooses the token. */
function checkStepEvent(model: Model, law: LawBook): void {
  const { plan, slotTask } = model;
  const effects = model.ops.flatMap(({ schedule }, op) =>
    schedule.semantics.traits.effect ? [op] : [],
  );
  const [op] = effects;
  // Without one the host opens the steps; such a plan is not emitted.
  if (op === undefined) return;
  law.count("step events");
  const slots = model.opSlots[op] ?? [];
  const [slot] = slots;
  const chosen = model.ops[op];
  if (effects.length > 1 || slots.length > 1 || slot === undefined || chosen === undefined) {
    const what = effects.map((index) => model.ops[index]).flatMap((found) =>
      found === undefined ? [] : [describeOp(found.op)]);
    law.violate(
      `${what.join(" and ")}: ${slots.length} tasks choose the token; the kernel opens a step by one`,
    );
    return;
  }
  const task = slotTask[slot] ?? -1;
  const { signals, events } = plan;
  const event = signals.items
    .subarray(signals.start[task], signals.start[task + 1])
    .find((id) => events.crossStep[id] === 1);
  const others = signals.items.filter((id) => id === event).length;
  if (event !== undefined && events.threshold[event] === 1 && others === 1) return;
  law.violate(
    `${describeTask(plan, task)} must trigger an event of its own that opens the next step, ` +
      (event === undefined
        ? "but triggers none" : `but event ${event} has threshold ${events.threshold[event]}`),
    [taskLine(plan, task)],
  );
}

/** With any number of tokens, a streamed op's activations and partial sums fit what is theirs. */
function checkRoom({ plan, ops }: Model, law: LawBook): void {
  const { activationBytes, partialBytes, consumerWarps } = plan.ring;
  const [blockColumns, tileRows, rowPadding] = [32, 16, 64];
  const slotFloats = Math.floor(partialBytes / 4 / consumerWarps);
  plan.layouts.forEach((layout, index) => {
    const op = plan.program.ops[index];
    if (layout === null || op === undefined) return;
    if (checkOwnRoom(plan, ops[index], layout, law)) return;
    const { blocksPerChunk, chunksPerTile, chunksPerSlice, tilesPerGroup, folds } = layout;
    const sliceBytes = chunksPerSlice * blocksPerChunk * folds * blockColumns * 2;
    const wholeBytes = chunksPerTile * blocksPerChunk * folds * blockColumns * 2;
    for (let tokens = 1; tokens <= plan.program.limits.maxTokens; tokens++) {
      law.count("activation rows");
      // All columns at once where they fit, else slice by slice: both as the kernel decides.
      const isWhole = tokens * (wholeBytes + rowPadding) <= activationBytes;
      const bytes = tokens * ((isWhole ? wholeBytes : sliceBytes) + rowPadding);
      if (bytes > activationBytes) {
        law.violate(
          `${describeOp(op)}: with ${tokens} tokens, a slice of ${chunksPerSlice} chunks needs ` +
            `${bytes} bytes of activations; there are ${activationBytes}`,
        );
        break;
      }
      const isTileOrder = tilesPerGroup === 1 || chunksPerSlice === chunksPerTile;
      const isFree = isWhole && isTileOrder;
      const tiles = isFree ? Math.floor(slotFloats / (tokens * tileRows)) : tilesPerGroup;
      if (tiles >= 1 && tiles * tokens * tileRows <= slotFloats) continue;
      law.violate(
        `${describeOp(op)}: with ${tokens} tokens, partial sums of ${tilesPerGroup} tiles exceed ` +
          `the ${slotFloats} floats of a warp`,
      );
      break;
    }
  });
}

/** The same for an op that says what its tasks take; false: it does not. */
function checkOwnRoom(
  plan: Plan, op: Model["ops"][number] | undefined, layout: StreamLayout, law: LawBook,
): boolean {
  const { ring } = plan;
  const budget = { ...ring, chunkBytes: ring.stageBytes };
  const room = op?.schedule.packing.room?.(op.instance, layout, budget) ?? null;
  if (op === undefined || room === null) return false;
  const work = ring.activationBytes + 2 * ring.partialBytes;
  if ((room.chunksBetweenBarriers ?? 0) > ring.stages) {
    law.violate(
      `${describeOp(op.op)}: ${room.chunksBetweenBarriers} chunks between two barriers are more ` +
        `than the ${ring.stages} stages of the ring: a stage would pass from warp to warp`,
    );
  }
  for (let tokens = 1; tokens <= plan.program.limits.maxTokens; tokens++) {
    law.count("activation rows");
    if (room.bytes(tokens) <= work) continue;
    law.violate(
      `${describeOp(op.op)}: with ${tokens} tokens, its task takes ${room.bytes(tokens)} bytes ` +
        `beside the ring; there are ${work}`,
    );
    break;
  }
  return true;
}
