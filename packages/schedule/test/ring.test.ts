/**
 * @file The ring, exhaustively: every interleaving of a producer, copies that arrive in any order
 * and consumer warps, for small rings, against what the verifier says of them.
 */
import { describe, expect, it } from "vitest";
import { chunkLap, kernelProtocol, machines, plan, verify } from "../src/index.ts";
import type { Plan } from "../src/index.ts";
import { buildProgram, toyTable } from "../src/testing/index.ts";

interface Ring {
  readonly stages: number;
  readonly warps: number;
  readonly inFlight: number;
}

interface State {
  /** Chunks issued. */
  issued: number;
  readonly flying: number[];
  /** By stage: the chunk that is there or on its way. */
  readonly held: number[];
  /** Phases completed, by stage. */
  readonly full: number[];
  readonly empty: number[];
  /** By warp: its next chunk, and whether it is reading it. */
  readonly next: number[];
  readonly reading: boolean[];
}

const copyOf = (state: State): State => structuredClone(state);
/** mbarrier.try_wait.parity: over unless the phase in progress has this parity. */
const isOver = (completed: number, parity: number): boolean => (completed & 1) !== parity;

/** All states that follow; throws where a warp reads what is not its chunk. */
function successors(state: State, { stages, warps, inFlight }: Ring, chunks: number): State[] {
  const found: State[] = [];
  const parity = (chunk: number): number => Math.floor(chunk / stages) & 1;
  const move = (change: (next: State) => void): void => {
    const next = copyOf(state);
    change(next);
    found.push(next);
  };
  const c = state.issued;
  const vacant = c < stages || isOver(state.empty[c % stages]!, parity(c) ^ 1);
  const back = c - inFlight;
  const ready = c < inFlight || isOver(state.full[back % stages]!, parity(back));
  if (c < chunks && vacant && ready) {
    move((next) => {
      next.issued++;
      next.flying.push(c);
      next.held[c % stages] = c;
    });
  }
  state.flying.forEach((chunk, i) => move((next) => {
    next.flying.splice(i, 1);
    next.full[chunk % stages]!++;
  }));
  for (let warp = 0; warp < warps; warp++) {
    const chunk = state.next[warp]!;
    const stage = chunk % stages;
    if (chunk >= chunks) continue;
    const isThere = state.held[stage] === chunk && !state.flying.includes(chunk);
    if (state.reading[warp]) {
      if (!isThere) throw new Error(`chunk ${chunk} is overwritten while it is read`);
      move((next) => {
        next.reading[warp] = false;
        next.empty[stage]!++;
        next.next[warp] = chunk + warps;
      });
    } else if (isOver(state.full[stage]!, parity(chunk))) {
      if (!isThere) throw new Error(`chunk ${chunk} is taken for another`);
      move((next) => void (next.reading[warp] = true));
    }
  }
  return found;
}

/** Whether a producer that leaves now gets away once its copies have arrived. */
function drains(state: State, { stages, inFlight }: Ring): boolean {
  const full = [...state.full];
  for (const chunk of state.flying) full[chunk % stages]!++;
  const first = Math.max(0, state.issued - inFlight);
  return Array.from({ length: state.issued - first }, (_, i) => first + i)
    .every((chunk) => isOver(full[chunk % stages]!, Math.floor(chunk / stages) & 1));
}

/** Explores every interleaving; null, or what goes wrong in one. */
function explore(ring: Ring, chunks: number): string | null {
  const start: State = {
    issued: 0, flying: [], held: Array(ring.stages).fill(-1), full: Array(ring.stages).fill(0),
    empty: Array(ring.stages).fill(0), next: Array.from({ length: ring.warps }, (_, w) => w),
    reading: Array(ring.warps).fill(false),
  };
  const seen = new Set([JSON.stringify(start)]);
  const open = [start];
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    if (!drains(state, ring)) return "a producer that leaves waits for ever";
    let following: State[];
    try {
      following = successors(state, ring, chunks);
    } catch (error) {
      return (error as Error).message;
    }
    if (following.length === 0 && state.next.some((chunk) => chunk < chunks)) return "stuck";
    for (const next of following) {
      next.flying.sort((a, b) => a - b);
      const key = JSON.stringify(next);
      if (seen.has(key)) continue;
      seen.add(key);
      open.push(next);
    }
  }
  return null;
}

const program = buildProgram({
  hidden: 40, vocabulary: 20, maxTokens: 2, ops: [{ kind: "matmul", from: 0, size: 4, flavor: 0 }],
});
const options = { consumerWarps: 2, stages: 4, stageBytes: 1024, maxInFlight: 2 };
const good = plan(program, toyTable, { ...machines.h200, name: "two", sms: 2 }, options);

function lawOf(made: Plan, name: string): string {
  const law = verify(made, toyTable).laws.find((report) => report.name === name);
  return law?.violations.map(({ message }) => message).join("\n") ?? "not checked";
}

const withRing = ({ stages, warps, inFlight }: Ring): Plan => ({
  ...good,
  ring: { ...good.ring, stages, consumerWarps: warps, maxInFlight: inFlight, partialBytes: 4096 },
});

describe("small rings", () => {
  const rings = [1, 2, 3, 4].flatMap((stages) =>
    [1, 2].flatMap((warps) =>
      [1, 2, 3, 4, 5].map((inFlight) => ({ stages, warps, inFlight }))));

  it.each(rings)("$stages stages, $warps warps, $inFlight in flight", (ring) => {
    const wrong = explore(ring, 2 * ring.stages + ring.inFlight + 2);
    const told = lawOf(withRing(ring), "streams").split("\n").filter((x) => x.startsWith("ring:"));
    // What the verifier lets pass is sound in every interleaving.
    if (told.length === 0 || told[0] === "") expect(wrong).toBe(null);
    // A ring too small for what is in flight goes wrong in one.
    if (ring.stages < ring.inFlight) {
      expect(wrong).not.toBe(null);
      expect(told.join("\n")).toMatch(/chunks in flight need/);
    }
    if (ring.stages % ring.warps === 0 && ring.stages >= ring.inFlight) {
      expect(told.filter((x) => x !== "")).toEqual([]);
    }
  });
});

describe("below the plan", () => {
  it("chunk numbers that start over keep their stage, phase and warp", () => {
    for (const stages of [2, 8, 16, 24]) {
      const lap = chunkLap(stages);
      for (const chunk of [2 * lap, 2 * lap + 5, 3 * lap - 1, 2 * lap + 1234567]) {
        const renamed = lap + (chunk % lap);
        expect(renamed % stages).toBe(chunk % stages);
        expect(Math.floor(renamed / stages) % 2).toBe(Math.floor(chunk / stages) % 2);
        expect(renamed % 8).toBe(chunk % 8);
      }
    }
  });

  it("a target is told from a count by the sign of their difference, however often both wrap", () => {
    const half = 2 ** (kernelProtocol.wordBits - 1);
    for (const target of [0, 5, half - 1, half, 2 ** 32 - 3, 2 ** 32 + 9]) {
      for (const ahead of [-300, -1, 0, 1, 300, 1 - half, half - 1]) {
        expect(((target + ahead - target) | 0) >= 0).toBe(ahead >= 0);
        const wait = ((((target + ahead) >>> 0) - (target >>> 0)) | 0) < 0;
        expect(wait).toBe(ahead < 0);
      }
    }
  });

  const { events, ring } = good;
  const step = events.crossStep.indexOf(1);
  const change = (list: Int32Array, at: number, to: number) =>
    list.map((x, i) => (i === at ? to : x));
  it.each<[string, Partial<Plan>, RegExp]>([
    ["numbers beyond 32 bits", { ring: { ...ring, stages: 1024 } }, /numbers chunks up to \d+, beyond/],
    [
      "counts too far apart", { events: { ...events, threshold: change(events.threshold, 0, 2 ** 30) } },
      /event 0: counts may be 3221225472 from a target/,
    ],
    [
      "a step event of two triggers",
      { events: { ...events, threshold: change(events.threshold, step, 2) } },
      /event of its own that opens the next step, but event \d has threshold 2/,
    ],
    [
      "no step event",
      { events: { ...events, crossStep: events.crossStep.map(() => 0) } }, /but triggers none/,
    ],
    ["too little room for rows", { ring: { ...ring, activationBytes: 64 } }, /with 1 tokens, a slice/],
    ["too little room for sums", { ring: { ...ring, partialBytes: 64 } }, /partial sums of \d tiles/],
  ])("refuses %s", (_, broken, message) => {
    expect(lawOf({ ...good, ...broken }, "device")).toMatch(message);
  });
});
