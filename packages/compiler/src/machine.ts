/** @file Which machine a plan is made for: a target's usual GPU, or the GPU at hand. */
import { findTarget, targets } from "@mpk/cuda";
import { inputError, type DeviceInfo } from "@mpk/runtime";
import { machines, virtual, type Machine } from "@mpk/schedule";

/** The GPU that a target stands for unless told otherwise. */
const usual: Readonly<Record<string, Machine>> = {
  sm_80: machines.a100,
  sm_86: machines.rtx3090,
  sm_89: machines.rtx4090,
  sm_90: machines.h100,
  sm_90a: machines.h200,
  sm_100: machines.b200,
  sm_120: machines.rtx5090,
};

export const defaultTarget = "sm_90a";

/**
 * The machine of a target.
 * @throws MpkError (input) for an unknown target, or SMs outside 1..256.
 */
export function machineOf(target: string, sms?: number): Machine {
  const machine = usual[target];
  if (machine === undefined) {
    const names = targets.map((each) => each.name).join(", ");
    throw inputError(`unknown target ${JSON.stringify(target)}`, `choose one of ${names}`);
  }
  const { sharedBytes } = findTarget(target);
  if (sms === undefined) return Object.freeze({ ...machine, sharedBytes });
  return virtual(checkSms(sms), { ...machine, name: `${machine.name}-${sms}`, sharedBytes });
}

/** @throws MpkError (input) for SMs outside 1..256. */
export function checkSms(sms: number): number {
  if (Number.isInteger(sms) && sms >= 1 && sms <= 256) return sms;
  throw inputError(`--sms is ${sms}`, "give a whole number from 1 to 256");
}

/** The target and machine of a GPU that is here. */
export function machineOfDevice(device: DeviceInfo): { target: string; machine: Machine } {
  const plain = `sm_${device.major}${device.minor}`;
  // Only Hopper has an "a" target here, and its features pay.
  const target = plain === "sm_90" ? "sm_90a" : plain;
  const known = Object.values(machines).find((machine) =>
    device.name.toLowerCase().replaceAll(" ", "").includes(machine.name),
  );
  const { sharedBytes, readBytesPerSecond } = known ?? machineOf(target);
  const machine: Machine = {
    name: device.name,
    sms: device.sms,
    sharedBytes: Math.min(sharedBytes, device.sharedBytes),
    memoryBytes: device.totalBytes,
    readBytesPerSecond,
    l2Bytes: device.l2Bytes,
  };
  return { target, machine };
}
