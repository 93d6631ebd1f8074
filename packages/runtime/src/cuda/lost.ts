/** @file A GPU that no longer answers: told from one that is slow, and left alone from then on. */
import { ControlWord, type Manifest, Status } from "@mpk/cuda/manifest";
import { runtimeError, type MpkError } from "../errors.ts";
import { watchdogError } from "./watchdog.ts";

/** True once nothing has changed for too long. Before its first step a kernel may have to queue. */
export function standstill(
  control: Uint32Array,
  mostMillis: number,
  now: () => number = () => performance.now(),
): () => boolean {
  let [last, since] = ["", now()];
  return () => {
    const [steps, status] = [ControlWord.steps, ControlWord.status].map((at) => Atomics.load(control, at));
    const seen = `${steps} ${status}`;
    if (seen === last && seen !== "0 0") return now() - since > mostMillis;
    [last, since] = [seen, now()];
    return false;
  };
}

/** What to tell: the watchdog's report if there is one, for some SM never came back from its wait. */
export function lostError(manifest: Manifest, control: Uint32Array, mostMillis: number): MpkError {
  const status = Atomics.load(control, ControlWord.status);
  const report = status === Status.watchdog ? `${watchdogError(manifest, control).message}; then ` : "";
  const steps = Atomics.load(control, ControlWord.steps);
  return runtimeError(
    `${report}the GPU stopped answering: ${steps} steps are done and for ${Math.round(mostMillis)} ms ` +
      "nothing has come, not even the end of the kernel",
    "end this process, which frees the GPU; if it happens again look for Xid in the system's log",
  );
}
