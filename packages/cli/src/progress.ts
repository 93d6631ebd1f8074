/** @file Progress bars on stderr, for people only, and only for what takes longer than a second. */
import type { OnProgress, Progress } from "@mpk/runtime";
import { Presets, SingleBar } from "cli-progress";
import type { Io } from "./io.ts";

const labels = {
  load: "loading weights",
  compile: "compiling the kernel",
  generate: "generating",
} as const satisfies Record<Progress["stage"], string>;

/** Before a bar is shown: most things are quicker. */
const quietMillis = 1000;

export interface ProgressBars {
  readonly report: OnProgress;
  /** Clears what is shown; call before printing, and at the end. */
  stop(): void;
}

/** Bars for `io`, or none where nobody watches. */
export function progressBars(io: Io): ProgressBars {
  let bar: SingleBar | null = null;
  let stage: Progress["stage"] | null = null;
  let since = 0;
  const stop = () => {
    bar?.stop();
    bar = null;
  };
  const report: OnProgress = ({ stage: now, done, total }) => {
    if (!io.stderr.isTTY) return;
    if (now !== stage) {
      stop();
      stage = now;
      since = performance.now();
    }
    if (bar === null && performance.now() - since > quietMillis && done < total) {
      bar = new SingleBar(
        { format: `${labels[now]} {bar} {percentage}%`, clearOnComplete: true, hideCursor: true },
        Presets.shades_classic,
      );
      bar.start(total, done);
    }
    bar?.update(done);
    if (done >= total) stop();
  };
  return { report, stop };
}
