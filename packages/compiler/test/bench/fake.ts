/** @file A GPU that keeps step times as told, for what comes after a measurement. */
import { sessionOver, type DeviceBackend, type Launch, type Session } from "@mpk/runtime";

export interface FakeTimes {
  /** Nanoseconds of step `step` of launch `run`. */
  readonly stepNanos: (run: number, step: number) => number;
  /** Token `i` of launch `run`; default: the same in every launch. */
  readonly token?: (run: number, i: number) => number;
  readonly launchNanos?: number;
  readonly promptChunk?: number;
  /** A logit of a launch; default: there are none. */
  readonly logit?: (run: number) => number;
}

export interface FakeGpu {
  readonly session: Session;
  readonly launches: readonly Launch[];
  readonly cacheFills: () => number;
}

const vocab = 1000;

/** Steps take what `stepNanos` says; a launch takes its steps and `launchNanos`. */
export function fakeGpu(times: FakeTimes): FakeGpu {
  const { stepNanos, token = (_, i) => i % vocab, launchNanos = 0, promptChunk = 8 } = times;
  const launches: Launch[] = [];
  let fills = 0;
  const backend: DeviceBackend = {
    kind: "cuda",
    name: "fake GPU",
    async *run(launch) {
      const run = launches.push(launch) - 1;
      const promptSteps = Math.ceil(launch.promptIds.length / promptChunk);
      const steps = promptSteps + launch.maxTokens - 1;
      const stampNanos: bigint[] = [];
      let at = 5_000_000_000;
      for (let step = 0; step < steps; step++) {
        at += stepNanos(run, step);
        stampNanos.push(BigInt(at));
      }
      for (let i = 0; i < launch.maxTokens; i++) yield token(run, i);
      return {
        finish: "maxTokens", promptTokens: launch.promptIds.length, tokens: launch.maxTokens, steps,
        millis: (launchNanos + at - 5_000_000_000) / 1e6,
        logits: times.logit === undefined ? [] : [Float32Array.of(1, times.logit(run))],
        stampNanos: launch.stamps ? stampNanos : [],
      };
    },
    fillCache: async () => void fills++,
    readBandwidth: async () => 4.5e12,
    close: async () => undefined,
  };
  const session = sessionOver(backend, { vocab, maxContext: 20_000 }, []);
  return { session, launches, cacheFills: () => fills };
}
