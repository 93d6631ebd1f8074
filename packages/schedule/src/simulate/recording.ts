/** @file What a simulation keeps for pictures: rings that were full, bytes read and held over time. */

export interface Span {
  readonly from: number;
  readonly to: number;
}

/** Of one step; nanoseconds since its start. */
export interface Recording {
  readonly binNanos: number;
  /** Bytes that arrived in each bin, of all SMs. */
  readonly readBytes: Float64Array;
  /** Bytes in all rings at each bin's end. */
  readonly heldBytes: Float64Array;
  /** By SM: its producer could have copied, had a stage been free. */
  readonly ringFull: readonly (readonly Span[])[];
}

/** Takes notes of all steps, and gives those of one. */
export interface Recorder {
  full(sm: number, from: number, to: number): void;
  arrive(nanos: number, bytes: number): void;
  release(nanos: number, bytes: number): void;
  between(start: number, stop: number): Recording;
}

/** Shorter moments are none: the kernel's own profile leaves them out too. */
const shortestNanos = 200;
const binNanos = 250;

export function createRecorder(sms: number): Recorder {
  const full: number[][] = Array.from({ length: sms }, () => []);
  const [arrived, released]: [number[], number[]] = [[], []];
  const count = (list: number[], nanos: number, bytes: number): void => {
    const bin = Math.floor(nanos / binNanos);
    while (list.length <= bin) list.push(0);
    list[bin] = (list[bin] ?? 0) + bytes;
  };
  return {
    full(sm, from, to) {
      if (to - from >= shortestNanos) full[sm]?.push(from, to);
    },
    arrive: (nanos, bytes) => count(arrived, nanos, bytes),
    release: (nanos, bytes) => count(released, nanos, bytes),
    between(start, stop) {
      const first = Math.floor(start / binNanos);
      const bins = Math.max(1, Math.ceil(stop / binNanos) - first);
      let held = 0;
      for (let bin = 0; bin < first; bin++) held += (arrived[bin] ?? 0) - (released[bin] ?? 0);
      const readBytes = Float64Array.from({ length: bins }, (_, i) => arrived[first + i] ?? 0);
      const heldBytes = readBytes.map((bytes, i) => {
        held += bytes - (released[first + i] ?? 0);
        return Math.max(0, held);
      });
      const ringFull = full.map((list) => {
        const spans: Span[] = [];
        for (let i = 0; i < list.length; i += 2) {
          const from = Math.max(start, list[i] ?? 0);
          const to = Math.min(stop, list[i + 1] ?? 0);
          if (to > from) spans.push({ from: from - start, to: to - start });
        }
        return spans;
      });
      return { binNanos, readBytes, heldBytes, ringFull };
    },
  };
}
