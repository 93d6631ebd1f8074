/**
 * @file One SM's shared-memory ring: a producer, in-flight copies and consumer warps, stepped in
 * any order. Full and empty barriers are waited for by phase parity, as mbarriers are, so a ring
 * that lets parities alias gives wrong bytes or hangs here too.
 */
import type { RingSpec } from "../plan.ts";
import type { StreamImage } from "./packed.ts";
import type { Random } from "./random.ts";

export class Ring {
  readonly #spec: RingSpec;
  readonly #image: StreamImage;
  readonly #random: Random | null;
  readonly #memory: Uint8Array;
  /** Completed phases of each stage's barriers. */
  readonly #full: Int32Array;
  readonly #empty: Int32Array;
  readonly #inFlight: number[] = [];
  readonly #fetched = new Map<number, Uint8Array>();
  readonly #warpNext: Int32Array;
  #issued = 0;
  #next = 0;
  #end = 0;

  /** `random` null: the producer runs just ahead and warps take chunks in order. */
  constructor(spec: RingSpec, image: StreamImage, random: Random | null) {
    this.#spec = spec;
    this.#image = image;
    this.#random = random;
    // Bytes that no copy has written are NaN in bf16.
    this.#memory = new Uint8Array(spec.stages * spec.stageBytes).fill(0xff);
    this.#full = new Int32Array(spec.stages);
    this.#empty = new Int32Array(spec.stages);
    this.#warpNext = Int32Array.from({ length: spec.consumerWarps }, (_, warp) => warp);
  }

  /** The task that starts now takes `chunks` chunks. */
  open(chunks: number): void {
    this.#end += chunks;
  }

  /** The task's next chunk, or null when it can never come. */
  take(): Uint8Array | null {
    const random = this.#random;
    while (!this.#fetched.has(this.#next)) {
      if (this.#next >= this.#end) return null;
      if (!(random === null ? this.#stepInOrder() : this.#stepAny(random))) return null;
    }
    const bytes = this.#fetched.get(this.#next) ?? null;
    this.#fetched.delete(this.#next++);
    return bytes;
  }

  /** Chunks of the current task not taken yet. */
  left(): number {
    return this.#end - this.#next;
  }

  /** One move of anybody; false when nobody can move. */
  #stepAny(random: Random): boolean {
    const moves: (() => void)[] = [];
    if (this.#canIssue()) moves.push(() => this.#inFlight.push(this.#issued++));
    if (this.#inFlight.length > 0) {
      moves.push(() => this.#land(random.below(this.#inFlight.length)));
    }
    for (let warp = 0; warp < this.#spec.consumerWarps; warp++) {
      if (this.#canFetch(warp)) moves.push(() => this.#fetch(warp));
    }
    moves[random.below(moves.length)]?.();
    return moves.length > 0;
  }

  #stepInOrder(): boolean {
    const warp = this.#next % this.#spec.consumerWarps;
    if (this.#canFetch(warp)) this.#fetch(warp);
    else if (this.#inFlight.length > 0) this.#land(0);
    else if (this.#canIssue()) this.#inFlight.push(this.#issued++);
    else return false;
    return true;
  }

  #lapOf(chunk: number): number {
    return Math.floor(chunk / this.#spec.stages);
  }

  #canIssue(): boolean {
    const { maxInFlight, stages } = this.#spec;
    if (this.#image.offset.length === 0 || this.#inFlight.length >= maxInFlight) return false;
    const lap = this.#lapOf(this.#issued);
    return lap === 0 || passed(this.#empty[this.#issued % stages] ?? 0, (lap - 1) & 1);
  }

  #land(which: number): void {
    const [chunk = 0] = this.#inFlight.splice(which, 1);
    const { stages, stageBytes } = this.#spec;
    const { offset, length, bytes } = this.#image;
    const index = chunk % offset.length;
    const from = offset[index] ?? 0;
    const stage = chunk % stages;
    const at = stage * stageBytes;
    // A chunk larger than a stage runs into the next one, as in shared memory.
    const end = from + Math.min(length[index] ?? 0, this.#memory.length - at);
    this.#memory.set(bytes.subarray(from, end), at);
    this.#full[stage] = (this.#full[stage] ?? 0) + 1;
  }

  #canFetch(warp: number): boolean {
    const chunk = this.#warpNext[warp] ?? 0;
    const completed = this.#full[chunk % this.#spec.stages] ?? 0;
    return chunk < this.#end && passed(completed, this.#lapOf(chunk) & 1);
  }

  #fetch(warp: number): void {
    const chunk = this.#warpNext[warp] ?? 0;
    const { stages, stageBytes, consumerWarps } = this.#spec;
    const stage = chunk % stages;
    const length = this.#image.length[chunk % this.#image.length.length] ?? 0;
    const at = stage * stageBytes;
    this.#fetched.set(chunk, this.#memory.slice(at, at + length));
    this.#empty[stage] = (this.#empty[stage] ?? 0) + 1;
    this.#warpNext[warp] = chunk + consumerWarps;
  }
}

/** mbarrier.test_wait.parity: true unless the phase of that parity is the one in progress. */
function passed(completed: number, parity: number): boolean {
  return (completed & 1) !== parity;
}
