/** @file What a compiled model costs: tasks, events, hand-offs, streamed bytes, memory. Pure. */
import { dtypeBytes } from "@mpk/ir";
import { inputError } from "@mpk/runtime";
import { segmentBytes, sharedReserveBytes, type Plan } from "@mpk/schedule";

export interface Report {
  readonly model: string;
  readonly machine: string;
  readonly target: string | null;
  readonly sms: number;
  readonly ops: number;
  readonly tasks: number;
  /** Producer-consumer pairs of tasks. */
  readonly eventsBeforeFusion: number;
  /** Counters that carry them. */
  readonly events: number;
  /** Longest chain of waits for other SMs within one step. */
  readonly handOffsPerStep: number;
  readonly streamedBytesPerStep: number;
  readonly streamedBytesPerSm: Readonly<Record<"min" | "mean" | "max", number>>;
  /** Streamed bytes over the machine's read bandwidth: no step can be faster. */
  readonly floorMicros: number;
  readonly shared: {
    readonly ringBytes: number;
    readonly activationBytes: number;
    readonly partialBytes: number;
    readonly reserveBytes: number;
    readonly totalBytes: number;
    readonly availableBytes: number;
  };
  /** Registers a thread may use: 65,536 a SM over the block's threads, at most 255. */
  readonly registerBudget: number;
  readonly scratchBytes: number;
  readonly kvBytes: number;
  /** Gains, biases and embedding tables, which are read where they lie. */
  readonly residentBytes: number;
  readonly maxContext: number;
  readonly maxTokens: number;
  readonly millis: Readonly<Record<string, number>>;
}

/** Bytes of both caches of all states: bf16 pairs for every slot of every page. */
export function kvBytes(plan: Plan): number {
  const slots = plan.pages * plan.pageTokens;
  return plan.program.states.reduce(
    (sum, state) => sum + 2 * 2 * slots * state.kvHeads * state.headDim,
    0,
  );
}

/** Bytes of the weights that some op reads as they are, not through a stream. */
export function residentBytes(plan: Plan): number {
  const { program, layouts } = plan;
  const read = new Set(
    program.ops.flatMap((op, index) =>
      op.inputs.filter((_, input) => layouts[index]?.weights.includes(input) !== true),
    ),
  );
  return program.values.reduce((sum, { id, type, origin }) => {
    if (origin.kind !== "weight" || !read.has(id)) return sum;
    return sum + type.shape.map(Number).reduce((a, b) => a * b, dtypeBytes[type.dtype]);
  }, 0);
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;

/** Refuses a plan that its machine's memory cannot hold. @throws MpkError (input) with numbers. */
export function checkDeviceMemory(plan: Plan): void {
  const streamed = streamBytesBySm(plan).reduce((a, b) => a + b, 0);
  const weights = streamed + residentBytes(plan);
  const { memoryBytes, name } = plan.machine;
  const kv = kvBytes(plan);
  const room = memoryBytes - weights - plan.scratchBytes;
  if (kv <= room) return;
  const { maxContext } = plan.program.limits;
  const pages = Math.floor(room / (kv / plan.pages));
  throw inputError(
    `a context of ${maxContext} tokens does not fit ${name}: ${gib(kv)} of KV cache and ` +
      `${gib(weights)} of weights, in ${gib(memoryBytes)} of memory`,
    pages >= 1
      ? `compile with --max-context ${pages * plan.pageTokens} or less`
      : "the weights alone are too large: take another --target, or a smaller model",
  );
}

/** Bytes that each SM streams in a step. */
export function streamBytesBySm(plan: Plan): readonly number[] {
  return plan.streams.map(segmentBytes);
}

/**
 * The longest chain of hand-offs: a task is one deeper than the deepest task of another SM that it
 * waits for. Tasks come in program order, so producers are met before consumers.
 */
export function handOffsPerStep(plan: Plan): number {
  const { tasks, waits, signals, events } = plan;
  const smDepth = new Int32Array(plan.machine.sms);
  const eventDepth = new Int32Array(events.count);
  const at = (items: ArrayLike<number>, i: number) => items[i] ?? 0;
  let deepest = 0;
  for (const task of inRounds(plan)) {
    const sm = at(tasks.sm, task);
    let depth = at(smDepth, sm);
    for (let i = at(waits.start, task); i < at(waits.start, task + 1); i++) {
      const event = at(waits.items, i);
      if (at(events.crossStep, event) === 0) depth = Math.max(depth, at(eventDepth, event) + 1);
    }
    smDepth[sm] = depth;
    deepest = Math.max(deepest, depth);
    for (let i = at(signals.start, task); i < at(signals.start, task + 1); i++) {
      const event = at(signals.items, i);
      eventDepth[event] = Math.max(at(eventDepth, event), depth);
    }
  }
  return deepest;
}

/** Tasks by op, which is the order in which every SM runs them. */
function inRounds(plan: Plan): Iterable<number> {
  const ids = Array.from({ length: plan.tasks.count }, (_, task) => task);
  return ids.sort((a, b) => (plan.tasks.op[a] ?? 0) - (plan.tasks.op[b] ?? 0) || a - b);
}

/** The report of a plan; `millis`: how long each stage of the compilation took. */
export function reportOf(
  plan: Plan,
  target: string | null,
  millis: Readonly<Record<string, number>>,
): Report {
  const perSm = streamBytesBySm(plan);
  const streamed = perSm.reduce((a, b) => a + b, 0);
  const { ring, machine } = plan;
  const ringBytes = ring.stages * ring.stageBytes;
  const partialBytes = 2 * ring.partialBytes;
  const threads = 32 * (ring.consumerWarps + 1);
  return {
    model: plan.program.name,
    machine: machine.name,
    target,
    sms: machine.sms,
    ops: plan.program.ops.length,
    tasks: plan.tasks.count,
    eventsBeforeFusion: plan.edgesBeforeFusion,
    events: plan.events.count,
    handOffsPerStep: handOffsPerStep(plan),
    streamedBytesPerStep: streamed,
    streamedBytesPerSm: {
      min: Math.min(...perSm),
      mean: streamed / machine.sms,
      max: Math.max(...perSm),
    },
    floorMicros: (streamed / machine.readBytesPerSecond) * 1e6,
    shared: {
      ringBytes,
      activationBytes: ring.activationBytes,
      partialBytes,
      reserveBytes: sharedReserveBytes,
      totalBytes: ringBytes + ring.activationBytes + partialBytes + sharedReserveBytes,
      availableBytes: machine.sharedBytes,
    },
    registerBudget: registersPerThread(threads),
    scratchBytes: plan.scratchBytes,
    kvBytes: kvBytes(plan),
    residentBytes: residentBytes(plan),
    maxContext: plan.program.limits.maxContext,
    maxTokens: plan.program.limits.maxTokens,
    millis,
  };
}

/**
 * Registers one thread may have. Each quarter of an SM has 16,384 registers for its share of the
 * warps, dealt out in eights per thread.
 */
function registersPerThread(threads: number): number {
  const warpsPerQuarter = Math.ceil(threads / 32 / 4);
  return Math.min(255, Math.floor(16_384 / (warpsPerQuarter * 32) / 8) * 8);
}
