/** @file Whether a kernel fits a GPU: its target, SMs and memory, computed before anything runs. */
import type { Manifest } from "@mpk/cuda/manifest";
import { environmentError, inputError, type MpkError } from "../errors.ts";
import type { DeviceInfo } from "./device.ts";

const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** What a driver keeps for itself once kernels run (local memory, printf buffers). */
const marginBytes = 64 * 2 ** 20;

/** Refuses a kernel made for another GPU. */
export function checkTarget(manifest: Manifest, device: DeviceInfo): void {
  const wanted = /^sm_(\d+)(\d)([a-z]?)$/.exec(manifest.target);
  const [, major, minor, suffix] = wanted ?? [];
  const sameMajor = Number(major) === device.major;
  // An "a" target runs on exactly its own chip, others on later minors too.
  const fits = suffix === "" ? Number(minor) <= device.minor : Number(minor) === device.minor;
  if (!sameMajor || !fits) {
    throw environmentError(
      `the kernel is for ${manifest.target}, ${device.name} is sm_${device.major}${device.minor}`,
      `compile with --target sm_${device.major}${device.minor}`,
    );
  }
  if (manifest.launch.blocks > device.sms) {
    throw environmentError(
      `the kernel needs ${manifest.launch.blocks} SMs at once, ${device.name} has ${device.sms}`,
      `compile with --sms ${device.sms}`,
    );
  }
}

/**
 * Refuses a context that does not fit the GPU's free memory.
 * @param scratchBytes needed while loading, on top of all that stays.
 */
export function checkMemory(manifest: Manifest, freeBytes: number, scratchBytes: number): void {
  const { memory } = manifest;
  const weights = memory.streamBytes + memory.residentBytes;
  const small = memory.scratchBytes + memory.eventBytes + memory.stepBytes;
  const needed = weights + small + memory.kvBytes + scratchBytes + marginBytes;
  const withoutKv = needed - memory.kvBytes;
  if (needed > freeBytes) throw tooLarge(manifest, freeBytes, scratchBytes, withoutKv);
}

function tooLarge(
  manifest: Manifest,
  freeBytes: number,
  scratchBytes: number,
  withoutKv: number,
): MpkError {
  const { memory, limits } = manifest;
  const pageTokens = Math.ceil(limits.maxContext / Math.max(1, memory.pages));
  const pageBytes = memory.kvBytes / Math.max(1, memory.pages);
  const pages = Math.floor((freeBytes - withoutKv) / Math.max(1, pageBytes));
  return inputError(
    `a context of ${limits.maxContext} tokens does not fit the GPU: ` +
      `${mib(memory.kvBytes)} of KV cache, ` +
      `${mib(memory.streamBytes + memory.residentBytes)} of weights and ` +
      `${mib(scratchBytes)} while loading; ${mib(freeBytes)} are free`,
    pages >= 1
      ? `compile with --max-context ${pages * pageTokens} or less`
      : "the weights alone are too large for this GPU: free its memory, or use a smaller model",
  );
}
