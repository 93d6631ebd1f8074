/** @file Buffers of a profile on the GPU, for one launch. */
import type { Manifest } from "@mpk/cuda/manifest";
import { inputError } from "../errors.ts";
import { profileRoom, type ProfileWanted } from "../profile.ts";
import type { Device, DevicePointer, Handle } from "./device.ts";

export interface ProfileBuffers {
  readonly times: DevicePointer;
  readonly timesBytes: number;
  readonly full: DevicePointer;
  readonly fullBytes: number;
  readonly fullCount: number;
}

export const noProfile: ProfileBuffers = { times: 0n, timesBytes: 0, full: 0n, fullBytes: 0, fullCount: 0 };

/** Refuses a profile of a kernel that keeps none. @throws MpkError (input). */
export function checkProfile(manifest: Manifest, wanted: ProfileWanted | undefined): void {
  if (wanted === undefined || manifest.profile !== undefined) return;
  throw inputError(
    "the kernel was compiled without a profile",
    "open the model with profile: true (`mpk profile` does)",
  );
}

/** @throws MpkError (input) where the kernel keeps no profile. */
export function allocateProfile(
  device: Device,
  manifest: Manifest,
  wanted: ProfileWanted | undefined,
): ProfileBuffers {
  checkProfile(manifest, wanted);
  if (wanted === undefined || manifest.profile === undefined) return noProfile;
  const room = profileRoom(manifest.profile, manifest.launch.blocks, wanted);
  const times = device.alloc(room.timesBytes, "the profile's times");
  const full = device.alloc(room.fullBytes, "the profile's log of full rings");
  return { times, full, ...room };
}

export function clearProfile(device: Device, buffers: ProfileBuffers, stream: Handle): void {
  device.clear(buffers.times, buffers.timesBytes, stream);
  device.clear(buffers.full, buffers.fullBytes, stream);
}

/** Kernel parameters; unknown to kernels without a profile, which do not ask for them. */
export const profileParams = (buffers: ProfileBuffers, wanted: ProfileWanted | undefined) => ({
  profile: buffers.times,
  profileFull: buffers.full,
  profileFirst: wanted?.firstStep ?? 0,
  profileSteps: wanted?.steps ?? 0,
  profileFullCount: buffers.fullCount,
});
