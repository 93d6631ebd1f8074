/**
 * @file Runs a program's emitted source on the CPU, against the virtual GPU. How to use it: see
 * "The emulator" in CONTRIBUTING.md.
 */
import { emit, emulatorFiles, findTarget, type Emitted } from "@mpk/cuda";
import { toBf16Bits, type Program, type Sampling } from "@mpk/ir";
import { bodyTable, scheduleTable } from "@mpk/ops";
import {
  openEmulated, openVirtual, type DeviceBackend, type Instrument, type Launch, type ProfileWanted,
  type StoredTensor, type Summary, type Weights,
} from "@mpk/runtime";
import { plan, virtual, type Plan, type PlanOptions } from "@mpk/schedule";
import { expect } from "vitest";
import { relativeError } from "./goldens.ts";

/** Reproducible numbers in [-1, 1). */
function noise(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

/** Random weights of a program's tensors: products keep their size, gains are near 1. */
export function randomWeights({ weights, values }: Program): Weights {
  const tensors = new Map<string, StoredTensor>();
  for (const { value, parts } of weights) {
    const type = values[value]?.type;
    const inner = type?.shape.slice(1).map(Number) ?? [];
    for (const { tensor, rows } of parts) {
      const shape = [rows, ...inner];
      const elements = shape.reduce((a, b) => a * b, 1);
      const next = noise(elements + tensor.length * 7919 + rows);
      const [middle, scale] = inner.length === 0 ? [1, 0.3] : [0, 1.7 / Math.sqrt(inner[0] ?? 1)];
      const numbers = Float32Array.from({ length: elements }, () => middle + scale * next());
      const isBf16 = type?.dtype === "bf16";
      const bytes = new Uint8Array((isBf16 ? toBf16Bits(numbers) : numbers).buffer);
      tensors.set(tensor, {
        name: tensor, file: "random", dtype: isBf16 ? "BF16" : "F32", shape,
        byteLength: bytes.length, read: (lo = 0, hi = bytes.length) => bytes.slice(lo, hi),
      });
    }
  }
  const tensor = (name: string): StoredTensor => {
    const found = tensors.get(name);
    if (found === undefined) throw new Error(`no tensor ${name}`);
    return found;
  };
  return {
    bytes: 0, names: [...tensors.keys()], has: (name) => tensors.has(name), tensor,
    expect: (name) => tensor(name), close: () => undefined,
  };
}

export interface EmulatedCase {
  readonly program: Program;
  /** Default `sm_90a`. */
  readonly target?: string;
  /** Default 3. */
  readonly sms?: number;
  readonly planOptions?: PlanOptions;
  /** Default: planned for `sms` SMs of the target. */
  readonly plan?: Plan;
  readonly scheduleSeed?: number;
  readonly instrument?: Instrument;
  /** The steps that the kernel keeps a profile of. Default: it has none. */
  readonly profile?: ProfileWanted;
  /** Default: seven tokens. */
  readonly promptIds?: readonly number[];
  /** Default 4. */
  readonly maxTokens?: number;
  /** Default: greedy. */
  readonly sampling?: Sampling;
  /** Changes the emitted text: a planted fault. */
  readonly edit?: (source: string) => string;
}

/** The plan of a case, made for its target's shared memory. */
export function planOf(c: EmulatedCase): Plan {
  const { sharedBytes } = findTarget(c.target ?? "sm_90a");
  return c.plan ??
    plan(c.program, scheduleTable, virtual(c.sms ?? 3, { sharedBytes }), c.planOptions);
}

const launchOf = (c: EmulatedCase, profile?: ProfileWanted): Launch => ({
  promptIds: c.promptIds ?? [1, 5, 3, 2, 8, 13, 7],
  maxTokens: c.maxTokens ?? 4,
  sampling: c.sampling ?? { temperature: 0, topK: 0, topP: 1, seed: 0n },
  eosIds: [],
  logits: "all",
  stamps: false,
  startPosition: 0,
  signal: new AbortController().signal,
  ...(profile === undefined ? {} : { profile }),
});

export interface Generated {
  readonly tokens: readonly number[];
  readonly summary: Summary;
}

/** Runs one launch to its end and closes the device. */
export async function generate(device: DeviceBackend, launch: Launch): Promise<Generated> {
  const tokens: number[] = [];
  try {
    const run = device.run(launch);
    for (;;) {
      const next = await run.next();
      if (next.done === true) return { tokens, summary: next.value };
      tokens.push(next.value);
    }
  } finally {
    await device.close();
  }
}

/** A case's source, as it is emitted. */
export const emitOf = (c: EmulatedCase): Emitted =>
  emit(planOf(c), scheduleTable, bodyTable, {
    target: c.target ?? "sm_90a", profile: c.profile !== undefined,
  });

export async function runEmulated(c: EmulatedCase): Promise<Generated> {
  const { source, manifest } = emitOf(c);
  const device = await openEmulated({
    source: c.edit?.(source) ?? source,
    manifest,
    weights: randomWeights(planOf(c).program),
    files: emulatorFiles(),
    scheduleSeed: c.scheduleSeed ?? 0,
    instrument: c.instrument ?? "none",
  });
  return generate(device, launchOf(c, c.profile));
}

export async function runVirtual(c: EmulatedCase): Promise<Generated> {
  const made = planOf(c);
  const device = await openVirtual({
    plan: made, table: scheduleTable, weights: randomWeights(made.program), precision: "bf16",
  });
  return generate(device, launchOf(c));
}

/**
 * The emulated kernel generates what the virtual GPU does: logits within rounding as long as the
 * tokens agree, and another token only where the two best were about equal.
 */
export async function expectSame(c: EmulatedCase, bound = 1e-2): Promise<void> {
  const [wanted, got] = [await runVirtual(c), await runEmulated(c)];
  expect(got.summary.logits).toHaveLength(wanted.summary.logits.length);
  expect(got.summary.finish).toBe(wanted.summary.finish);
  const differs = got.tokens.findIndex((token, i) => token !== wanted.tokens[i]);
  const same = differs < 0 ? wanted.tokens.length : differs + 1;
  expect(same).toBeGreaterThan(0);
  const rows = wanted.summary.logits.slice(0, same);
  const error = relativeError(got.summary.logits, rows);
  if (process.env["MPK_SHOW_ERRORS"] === "1") console.log(c.program.name, error);
  expect(error).toBeLessThan(bound);
  if (differs < 0) return;
  const row = wanted.summary.logits[differs] ?? new Float32Array(0);
  const [a = 0, b = 0] = [wanted.tokens[differs], got.tokens[differs]].map((id) => row[id ?? 0]);
  expect(Math.abs(a - b)).toBeLessThan(2 * bound * Math.max(...row.map(Math.abs)));
}
