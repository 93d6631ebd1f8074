/** @file A session of a kernel with a fault in it, beside sound ones. */
import { emulatorFiles } from "@mpk/cuda";
import {
  buildCubin, cacheFolder, findCompiler, inputError, openCuda, openDriver, openEmulated, openWeights,
  sessionOver, type Environment, type Session,
} from "@mpk/runtime";
import type { Compiled } from "../compile.ts";
import type { Fault } from "./faults.ts";

/** Compiles the kernels of faults, all at once: one after another would take minutes. */
export async function buildFaults(
  { source, manifest }: Compiled,
  faults: readonly Fault[],
  env: Environment,
): Promise<void> {
  if (source === null || manifest === null) return;
  const { version } = await openDriver(env);
  const compiler = await findCompiler(version, env);
  const texts = new Set(faults.map(({ edit }) => edit?.(source) ?? source));
  await Promise.all([...texts].map((text) =>
    buildCubin(compiler, text, manifest.target, cacheFolder(env))));
}

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
