/** @file One SM of a simulation: its producer's copies and its consumers' tasks. */
import type { Plan } from "../plan.ts";
import type { Clock } from "./clock.ts";
import type { SimulationConstants } from "./constants.ts";
import type { TaskCosts } from "./costs.ts";
import type { Recorder } from "./recording.ts";

export interface SimulatedSm {
  /** Runs tasks as far as arrived chunks and triggered events allow. */
  consume(): void;
  /** When the next copy can be issued; null if that is not known yet, or said already, or none. */
  takeRequest(): number | null;
  /** Bytes of the copy to be issued next. */
  copyBytes(): number;
  /** The copy issued next arrives then. */
  arrive(nanos: number): void;
  /** Slot of the task that the consumers are at. */
  slot(): number;
  /** Whether the tasks of all steps before this one are over. */
  readonly reached: (step: number) => boolean;
}

/** What all SMs of a simulation share. */
export interface Simulated {
  readonly plan: Plan;
  readonly steps: number;
  readonly clock: Clock;
  readonly costs: TaskCosts;
  readonly constants: SimulationConstants;
  /** Weights give way to the keys and values that attention loads; see `holdsStream`. */
  readonly holds: boolean;
  readonly recorder: Recorder | null;
}

export function createSm(simulated: Simulated, index: number): SimulatedSm {
  const { plan, steps, clock, costs, constants, holds, recorder } = simulated;
  const { chunkNanos, stageNanos, copyLatencyNanos, stateBytesPerNano, stateCopyNanos } = constants;
  const { order, ring, streams } = plan;
  const { stages, maxInFlight, consumerWarps, stageBytes } = ring;
  const [firstSlot, lastSlot] = [order.start[index] ?? 0, order.start[index + 1] ?? 0];
  // Chunks of each slot's task, and their bytes: the stream follows the order.
  const chunks = new Int32Array(lastSlot - firstSlot);
  const chunkBytes = new Int32Array(lastSlot - firstSlot);
  const place = new Map<number, number>();
  for (let slot = firstSlot; slot < lastSlot; slot++) {
    place.set(order.items[slot] ?? -1, slot - firstSlot);
  }
  for (const segment of streams[index] ?? []) {
    const at = place.get(segment.task) ?? -1;
    chunks[at] = (chunks[at] ?? 0) + segment.chunks;
    chunkBytes[at] = segment.chunkBytes;
  }
  for (let at = 0; at < chunks.length; at++) {
    const bytes = costs.copiedBytes[firstSlot + at] ?? 0;
    if (bytes === 0 || (chunks[at] ?? 0) > 0) continue;
    chunks[at] = Math.ceil(bytes / stageBytes);
    chunkBytes[at] = Math.round(bytes / (chunks[at] ?? 1));
  }
  const perStep = chunks.reduce((sum, n) => sum + n, 0);
  // Chunk n of the run: when it arrived and when its stage was free again, as far back as it matters.
  const span = Math.max(stages, maxInFlight) * 2;
  const arrived = new Float64Array(span);
  const released = new Float64Array(span);
  const warps = new Float64Array(consumerWarps);
  // When shared memory has served the chunks before.
  let served = 0;
  let issued = 0;
  let taken = 0;
  // Of the task's first chunks, one a warp, those that are out of the ring before its products begin.
  let held = 0;
  let pending = false;
  // When the copy before could be issued.
  let asked = 0;
  // The producer's place in the order: its task and the chunks left of it.
  let copySlot = -1;
  let copyLeft = 0;
  let at = 0;
  let step = 0;
  let taskLeft = -1; // -1: not begun
  let free = 0;
  let begin = 0;
  let end = 0;
  let data = 0;
  let stalled = 0;
  // Since when and until when, once that is known, no copy is issued: weights give way to rows of a state.
  let heldFrom = Infinity;
  let heldUntil = Infinity;

  const nextCopy = (): void => {
    while (copyLeft === 0) {
      copySlot = copySlot + 1 === chunks.length ? 0 : copySlot + 1;
      copyLeft = chunks[copySlot] ?? 0;
    }
  };
  if (perStep > 0) nextCopy();

  // A chunk from the ring to a warp's registers, which frees its stage.
  const release = (chunk: number, able: number): number => {
    const bytes = chunkBytes[at] ?? 0;
    served = Math.max(arrived[chunk % span] ?? 0, able, served) + (stageNanos * bytes) / stageBytes;
    released[chunk % span] = served;
    recorder?.release(served, bytes);
    return served;
  };
  // Before a task's inputs are there, each warp takes its first chunk; false: one is still to arrive.
  const hold = (): boolean => {
    const most = Math.min(consumerWarps, chunks[at] ?? 0);
    for (; held < most && taken + held < issued; held++) release(taken + held, free);
    return held === most;
  };
  // Rows that consumers load are asked for at the task's begin; copies meanwhile share the way in.
  const loaded = (bytes: number): number => {
    if (bytes === 0) return 0;
    let until = free + copyLatencyNanos + bytes / stateBytesPerNano;
    for (let chunk = Math.max(0, issued - stages); chunk < issued; chunk++) {
      const there = arrived[chunk % span] ?? 0;
      if (there > free && there < until) until += stageBytes / stateBytesPerNano;
    }
    return until;
  };
  const start = (): boolean => {
    const slot = firstSlot + at;
    const until = clock.waited(slot, step, index);
    const bytes = costs.loadedBytes[slot] ?? 0;
    const isHeld = holds && bytes > 0;
    if (isHeld) [heldFrom, heldUntil] = [free, Infinity];
    if (until === null) return false;
    const ready = Math.max(free, until);
    const there = held === 0 ? 0 : released[(taken + held - 1) % span] ?? 0;
    begin = Math.max(ready, there, loaded(bytes)) + (costs.prologue[slot] ?? 0);
    if (isHeld) heldUntil = begin;
    end = begin;
    data = begin;
    stalled = 0;
    const times = clock.times(step);
    times.free[slot] = free;
    times.ready[slot] = ready;
    times.begin[slot] = begin;
    taskLeft = chunks[at] ?? 0;
    return true;
  };
  const finish = (): void => {
    const slot = firstSlot + at;
    const times = clock.times(step);
    free = end + costs.epilogueNanos;
    times.data[slot] = data;
    times.consumed[slot] = end;
    times.end[slot] = free;
    times.stalled[slot] = stalled;
    clock.signal(slot, free, step);
    taskLeft = -1;
    at++;
    if (at < chunks.length) return;
    at = 0;
    step++;
  };
  return {
    consume() {
      while (chunks.length > 0) {
        // What comes behind the last step only shows when stages are free again.
        if (taskLeft < 0 && !(hold() && step < steps && start())) return;
        const nanos = (chunkNanos * (chunkBytes[at] ?? 0)) / stageBytes;
        while (taskLeft > 0) {
          if (taken === issued) return;
          const warp = taken % consumerWarps;
          const there = arrived[taken % span] ?? 0;
          const able = Math.max(begin, warps[warp] ?? 0);
          const done = (held > 0 ? able : release(taken, able)) + nanos;
          if (held > 0) held--;
          if (taskLeft === (chunks[at] ?? 0)) {
            if (there > data) data = there;
          } else if (warp === 0 && there > able) {
            stalled += there - able;
          }
          warps[warp] = done;
          if (done > end) end = done;
          taken++;
          taskLeft--;
        }
        finish();
      }
    },
    takeRequest() {
      if (pending || perStep === 0 || issued >= taken + held + stages) return null;
      const flight = issued < maxInFlight ? 0 : arrived[(issued - maxInFlight) % span] ?? 0;
      const stage = issued < stages ? 0 : released[(issued - stages) % span] ?? 0;
      // Who holds copies back streams nothing, and all before it have theirs: this one comes behind it.
      const until = Math.max(flight, stage, asked) < heldFrom ? 0 : heldUntil;
      if (until === Infinity) return null;
      pending = true;
      const isState = (costs.copiedBytes[firstSlot + copySlot] ?? 0) > 0;
      if (isState) asked += stateCopyNanos * (chunkBytes[copySlot] ?? 0) / stageBytes;
      recorder?.full(index, Math.max(flight, asked), Math.max(stage, until));
      asked = Math.max(flight, stage, until, asked);
      return asked;
    },
    copyBytes: () => chunkBytes[copySlot] ?? 0,
    arrive(nanos) {
      recorder?.arrive(nanos, chunkBytes[copySlot] ?? 0);
      arrived[issued % span] = nanos;
      issued++;
      pending = false;
      // The producer runs on into steps that nobody consumes, as far as the ring holds.
      copyLeft--;
      nextCopy();
    },
    slot: () => firstSlot + at,
    reached: (wanted) => step >= wanted || chunks.length === 0,
  };
}
