/** @file Which machine a plan is made for: a target's usual GPU, or the GPU at hand. */
import { findTarget, targets } from "@mpk/cuda";
import { environmentError, inputError, type DeviceInfo } from "@mpk/runtime";
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

/** A number of SMs as given. @throws MpkError (input) for SMs outside 1..256. */
export function checkSms(sms: number): number {
  if (Number.isInteger(sms) && sms >= 1 && sms <= 256) return sms;
  throw inputError(`--sms is ${sms}`, "give a whole number from 1 to 256");
}

/**
 * The target and machine of a GPU that is here: the newest target of its generation that it runs.
 * @throws MpkError (environment) for a GPU older than every target.
 */
export function machineOfDevice(device: DeviceInfo): { target: string; machine: Machine } {
  const target = targetOf(device);
  const known = Object.values(machines).find((machine) =>
    device.name.toLowerCase().replaceAll(" ", "").includes(machine.name),
  );
  const { readBytesPerSecond } = known ?? machineOf(target);
  const machine: Machine = {
    name: device.name,
    sms: device.sms,
    sharedBytes: Math.min(findTarget(target).sharedBytes, device.sharedBytes),
    memoryBytes: device.totalBytes,
    readBytesPerSecond,
    l2Bytes: device.l2Bytes,
  };
  return { target, machine };
}

function targetOf({ name, major, minor }: DeviceInfo): string {
  const plain = targets
    .map((each) => each.name)
    .filter((each) => {
      const version = Number(/^sm_(\d+)$/.exec(each)?.[1] ?? 0);
      return Math.floor(version / 10) === major && version % 10 <= minor;
    });
  const newest = plain.at(-1);
  if (newest === undefined) {
    throw environmentError(
      `${name} (sm_${major}${minor}) is not supported`,
      `use one of ${targets.map((each) => each.name).join(", ")}, or --device virtual`,
    );
  }
  // An "a" target runs on exactly one chip, and there it pays.
  const exact = `sm_${major}${minor}a`;
  return targets.some((each) => each.name === exact) ? exact : newest;
}
