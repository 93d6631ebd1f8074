/** @file Which target and machine fit a GPU. */
import { expect, test } from "vitest";
import { machineOf, machineOfDevice } from "../src/index.ts";

const gpu = (name: string, major: number, minor: number, sms = 100) => ({
  ordinal: 0, name, major, minor, sms, totalBytes: 2 ** 34, l2Bytes: 2 ** 25, sharedBytes: 232_448,
  cooperative: true,
});

test.each([
  ["NVIDIA H200", 9, 0, "sm_90a"],
  ["NVIDIA A100-SXM4-80GB", 8, 0, "sm_80"],
  ["NVIDIA GeForce RTX 4090", 8, 9, "sm_89"],
  ["NVIDIA B300", 10, 3, "sm_100"],
])("%s (%i.%i) is compiled for as %s", (name, major, minor, target) => {
  const fit = machineOfDevice(gpu(name, major, minor));
  expect(fit.target).toBe(target);
  expect(fit.machine).toMatchObject({ name, sms: 100 });
  expect(fit.machine.sharedBytes).toBeLessThanOrEqual(machineOf(target).sharedBytes);
});

test("a GPU older than every target is refused by name; SMs must be 1 to 256", () => {
  expect(() => machineOfDevice(gpu("T4", 7, 5))).toThrow(/T4 \(sm_75\) is not supported/);
  expect(() => machineOf("sm_90a", 0)).toThrow(/--sms is 0/);
  expect(machineOf("sm_90a", 20)).toMatchObject({ sms: 20 });
});
