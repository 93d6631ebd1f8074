/**
 * @file One SM's shared-memory ring: a producer, in-flight copies and consumer warps, stepped in
 * any order. Full and empty barriers are waited for by phase parity, as mbarriers are, so a ring
 * that lets parities alias gives wrong bytes or hangs here too.
 */
import type { RingSpec } from "../plan.ts";
import type { StreamImage } from "./packed.ts";
import type { Random } from "./random.ts";

export interface Ring {
  /** The task that starts now takes `chunks` chunks. */
  open(chunks: number): void;
  /** The task's next chunk, or null when it can never come. */
  take(): Uint8Array | null;
  /** Chunks of the current task not taken yet. */
  left(): number;
}

/** `random` null: the producer runs just ahead and warps take chunks in order. */
export function createRing(spec: RingSpec, image: StreamImage, random: Random | null): Ring {
  const { stages, stageBytes, consumerWarps, maxInFlight } = spec;
  const memory = new Uint8Array(stages * stageBytes).fill(0xff);
  // Completed phases of each stage's barriers.
  const full = new Int32Array(stages);
  const empty = new Int32Array(stages);
  const perStep = image.offset.length;
  const inFlight: number[] = [];
  const fetched = new Map<number, Uint8Array>();
  const warpNext = Int32Array.from({ length: consumerWarps }, (_, warp) => warp);
  let issued = 0;
  let next = 0;
  let end = 0;

  /** mbarrier.test_wait.parity: true unless the phase of that parity is the one in progress. */
  const passed = (completed: number, parity: number): boolean => (completed & 1) !== parity;
  const lapOf = (chunk: number): number => Math.floor(chunk / stages);

  const canIssue = (): boolean => {
    if (perStep === 0 || inFlight.length >= maxInFlight) return false;
    const lap = lapOf(issued);
    return lap === 0 || passed(empty[issued % stages] ?? 0, (lap - 1) & 1);
  };
  const land = (which: number): void => {
    const [chunk = 0] = inFlight.splice(which, 1);
    const index = chunk % perStep;
    const from = image.offset[index] ?? 0;
    const stage = chunk % stages;
    const bytes = image.bytes.subarray(from, from + (image.length[index] ?? 0));
    // A chunk larger than a stage runs into the next one, as in shared memory.
    memory.set(bytes.subarray(0, memory.length - stage * stageBytes), stage * stageBytes);
    full[stage] = (full[stage] ?? 0) + 1;
  };
  const canFetch = (warp: number): boolean => {
    const chunk = warpNext[warp] ?? 0;
    return chunk < end && passed(full[chunk % stages] ?? 0, lapOf(chunk) & 1);
  };
  const fetch = (warp: number): void => {
    const chunk = warpNext[warp] ?? 0;
    const stage = chunk % stages;
    const length = image.length[chunk % perStep] ?? 0;
    fetched.set(chunk, memory.slice(stage * stageBytes, stage * stageBytes + length));
    empty[stage] = (empty[stage] ?? 0) + 1;
    warpNext[warp] = chunk + consumerWarps;
  };

  /** One move of anybody; false when nobody can move. */
  const stepAny = (source: Random): boolean => {
    const moves: (() => void)[] = [];
    if (canIssue()) moves.push(() => inFlight.push(issued++));
    if (inFlight.length > 0) moves.push(() => land(source.below(inFlight.length)));
    for (let warp = 0; warp < consumerWarps; warp++) {
      if (canFetch(warp)) moves.push(() => fetch(warp));
    }
    moves[source.below(moves.length)]?.();
    return moves.length > 0;
  };
  const stepInOrder = (): boolean => {
    if (canFetch(next % consumerWarps)) fetch(next % consumerWarps);
    else if (inFlight.length > 0) land(0);
    else if (canIssue()) inFlight.push(issued++);
    else return false;
    return true;
  };

  return {
    open(chunks) {
      end += chunks;
    },
    take() {
      while (!fetched.has(next)) {
        if (next >= end || !(random === null ? stepInOrder() : stepAny(random))) return null;
      }
      const bytes = fetched.get(next) ?? null;
      fetched.delete(next++);
      return bytes;
    },
    left: () => end - next,
  };
}
