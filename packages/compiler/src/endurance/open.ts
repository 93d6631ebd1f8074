/** @file A session of a kernel with a fault in it, beside sound ones. */
import { emulatorFiles } from "@mpk/cuda";
import {
  inputError, openCuda, openEmulated, openWeights, sessionOver, type Environment, type Session,
} from "@mpk/runtime";
import type { Compiled } from "../compile.ts";
import type { Fault } from "./faults.ts";

/** Opens `compiled` with the fault in it. @throws MpkError, and where the fault has no place in it. */
export async function openWithFault(
  compiled: Compiled,
  fault: Fault,
  device: "cuda" | "emulated",
  env: Environment,
): Promise<Session> {
  const { source, manifest, checkpoint } = compiled;
  if (source === null || manifest === null || checkpoint === null) {
    throw inputError("faults are planted into a checkpoint's kernel", "name a checkpoint folder");
  }
  const stored = await openWeights(checkpoint);
  try {
    const weights = fault.weights?.(stored) ?? stored;
    const kernel = { source: fault.edit?.(source) ?? source, manifest, weights, env };
    const backend = device === "cuda"
      ? await openCuda(kernel)
      : await openEmulated({ ...kernel, files: emulatorFiles() });
    const close = () => backend.close().finally(stored.close);
    return sessionOver({ ...backend, close }, manifest.limits, []);
  } catch (error) {
    stored.close();
    throw error;
  }
}
