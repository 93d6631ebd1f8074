/** @file The machines a Plan can be made for. Pure data. */
import { PlanError } from "./errors.ts";
import type { Machine } from "./plan.ts";

const gib = 2 ** 30;
const mib = 2 ** 20;

/** The scheduler's bound on SMs; the emitter's tables and the verifier's clocks rely on it. */
export const maxSms = 256;

/**
 * Known GPUs. `sharedBytes` is the opt-in maximum of one block (CUDA programming guide, compute
 * capabilities); bandwidth is measured for h200 (bulk copies into a ring) and the data sheet's
 * for the others.
 */
export const machines = {
  h200: machine("h200", 132, 232448, 141, 4.6e12, 60),
  h100: machine("h100", 132, 232448, 80, 3.35e12, 50),
  a100: machine("a100", 108, 166912, 80, 2.039e12, 40),
  b200: machine("b200", 148, 232448, 180, 8e12, 126),
  rtx3090: machine("rtx3090", 82, 101376, 24, 0.936e12, 6),
  rtx4090: machine("rtx4090", 128, 101376, 24, 1.008e12, 72),
  rtx5090: machine("rtx5090", 170, 101376, 32, 1.792e12, 96),
} as const satisfies Record<string, Machine>;

function machine(
  name: string,
  sms: number,
  sharedBytes: number,
  memoryGib: number,
  readBytesPerSecond: number,
  l2Mib: number,
): Machine {
  const memoryBytes = memoryGib * gib;
  return Object.freeze({
    name, sms, sharedBytes, memoryBytes, readBytesPerSecond, l2Bytes: l2Mib * mib,
  });
}

/**
 * A machine that exists only on paper, with `sms` SMs and the memory of an H200 unless told
 * otherwise. Throws `PlanError` unless 1 <= sms <= 256.
 */
export function virtual(sms: number, changes: Partial<Machine> = {}): Machine {
  const made: Machine = { ...machines.h200, name: `virtual-${sms}`, ...changes, sms };
  checkMachine(made);
  return Object.freeze(made);
}

/** Throws `PlanError` when a machine's numbers make no sense. */
export function checkMachine(machine: Machine): void {
  const { name, sms } = machine;
  if (!Number.isInteger(sms) || sms < 1 || sms > maxSms) {
    throw new PlanError(`machine ${name}: expected 1 to ${maxSms} SMs, got ${sms}`);
  }
  for (const key of ["sharedBytes", "memoryBytes", "readBytesPerSecond", "l2Bytes"] as const) {
    if (!(machine[key] > 0) || !Number.isFinite(machine[key])) {
      throw new PlanError(`machine ${name}: ${key} must be positive, got ${machine[key]}`);
    }
  }
}
