/** @file Progress bars on stderr, for people only, and only for what takes longer than a second. */
import type { OnProgress, Progress } from "@mpk/runtime";
import { Presets, SingleBar } from "cli-progress";
import type { Io } from "./io.ts";

const labels = {
  plan: "compiling the model",
  load: "loading weights",
  compile: "building the kernel",
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
  if (!io.stderr.isTTY) return { report: () => undefined, stop: () => undefined };
  let shown: { readonly stage: Progress["stage"]; stop(): void; update(to: Progress): void } | null;
  shown = null;
  const stop = () => {
    shown?.stop();
    shown = null;
  };
  const report: OnProgress = (progress) => {
    if (shown?.stage !== progress.stage) {
      stop();
      if (progress.done < progress.total) shown = startBar(progress);
    }
    shown?.update(progress);
    if (progress.done >= progress.total) stop();
  };
  return { report, stop };
}

/** Does `work` with bars, and clears them whatever comes of it. */
export async function withBars<T>(io: Io, work: (report: OnProgress) => Promise<T>): Promise<T> {
  const bars = progressBars(io);
  return work(bars.report).finally(bars.stop);
}

/** A bar that appears once its stage has taken a while, by a timer: a stage may report rarely. */
function startBar(first: Progress) {
  let latest = first;
  const bar = new SingleBar(
    {
      format: `${labels[first.stage]} {bar} {percentage}% {duration_formatted}`,
      clearOnComplete: true,
      hideCursor: true,
      // Redraws while nothing is reported, so that the time goes on.
      synchronousUpdate: false,
      fps: 4,
    },
    Presets.shades_classic,
  );
  let started = false;
  const timer = setTimeout(() => {
    started = true;
    bar.start(latest.total, latest.done);
  }, quietMillis);
  return {
    stage: first.stage,
    update(to: Progress) {
      latest = to;
      if (started) bar.update(to.done);
    },
    stop() {
      clearTimeout(timer);
      if (started) bar.stop();
    },
  };
}
