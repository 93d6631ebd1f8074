/** @file What the emitted kernel is given on any device that runs it, and why a launch ended. Pure. */
import { Status, type Manifest } from "@mpk/cuda/manifest";
import type { Finish, Launch } from "./backend.ts";
import { encodeParams, type ParamValue } from "./cuda/params.ts";
import { runtimeError } from "./errors.ts";

/** Buffers that stay from launch to launch, named as the kernel's parameters are. */
export type KernelBuffer =
  | "stream" | "resident" | "scratch" | "kv" | "pageTable" | "events" | "steps" | "prompt";

/** How large each buffer is, bytes. */
export function bufferBytes({ memory, limits }: Manifest): Readonly<Record<KernelBuffer, number>> {
  return {
    stream: memory.streamBytes,
    resident: memory.residentBytes,
    scratch: memory.scratchBytes,
    kv: memory.kvBytes,
    pageTable: 4 * memory.pages,
    events: memory.eventBytes,
    steps: memory.stepBytes,
    prompt: 4 * limits.maxContext,
  };
}

/** One sequence has the pages in their order. */
export const pageTableOf = ({ memory }: Manifest): Int32Array =>
  Int32Array.from({ length: memory.pages }, (_, page) => page);

/** Steps that only read the prompt, the last of which gives the first token. */
export const promptSteps = ({ limits }: Manifest, { promptIds }: Launch): number =>
  Math.ceil(promptIds.length / limits.maxTokens);

/** The most steps of a launch. */
export const mostSteps = (manifest: Manifest, launch: Launch): number =>
  promptSteps(manifest, launch) + launch.maxTokens;

/** Steps from the first on whose logits are kept. */
export const logitsSteps = (manifest: Manifest, launch: Launch): number => ({
  none: 0, lastPrompt: promptSteps(manifest, launch), all: mostSteps(manifest, launch),
})[launch.logits];

/** The kernel's parameters: what the launch says, and `own`, what the device adds. */
export function launchParams(
  manifest: Manifest,
  launch: Launch,
  own: Readonly<Record<string, ParamValue>>,
): Uint8Array {
  const { temperature, topK, topP, seed } = launch.sampling;
  return encodeParams(manifest.params, {
    ...own,
    seed: BigInt.asUintN(64, seed),
    promptCount: launch.promptIds.length,
    promptChunk: manifest.limits.maxTokens,
    startPosition: launch.startPosition,
    maxNew: launch.maxTokens,
    logitsSteps: logitsSteps(manifest, launch),
    eosCount: launch.eosIds.length,
    eos: launch.eosIds,
    topK,
    temperature,
    topP,
  });
}

/** Why a launch with this status ended. @throws MpkError where it failed. */
export function finishOf(status: number, launch: Launch, manifest: Manifest): Finish {
  switch (status) {
    case Status.maxNew: {
      const asked = launch.startPosition + launch.promptIds.length + launch.maxTokens;
      const full = asked >= manifest.limits.maxContext;
      return full ? "contextFull" : "maxTokens";
    }
    case Status.eos:
      return "eos";
    case Status.stopped:
      return "stopped";
    case Status.contextFull:
      return "contextFull";
    default:
      throw runtimeError(
        `the kernel ended with status ${status}`,
        "this is a fault of the emitted kernel: please report it",
      );
  }
}
