/** @file What the runtime does with a Manifest: parameters, the fit to a GPU, watchdog reports. */
import {
  ControlWord, kernelParams, type Manifest, maxEosIds, ReportKind,
} from "@mpk/cuda/manifest";
import { expect, test } from "vitest";
import { checkMemory, checkTarget } from "../src/cuda/fit.ts";
import { packScratchBytes } from "../src/cuda/pack.ts";
import { encodeParams } from "../src/cuda/params.ts";
import { watchdogError } from "../src/cuda/watchdog.ts";

const mib = 2 ** 20;
const group = { parts: [{ tensor: "w", rows: 64, columns: 32 }] };
const manifest: Manifest = {
  format: "mpk-manifest",
  version: 1,
  model: "test",
  target: "sm_90a",
  entries: { decode: "d", pack: "p" },
  launch: { blocks: 132, threads: 288, sharedBytes: 1000, packThreads: 256 },
  params: kernelParams,
  memory: {
    streamBytes: 100 * mib, residentBytes: 10 * mib, scratchBytes: mib, kvBytes: 640 * mib,
    eventBytes: 1024, stepBytes: 128, pages: 64,
  },
  limits: { maxTokens: 8, maxContext: 4096, vocab: 100 },
  pack: [
    {
      op: 0, groups: [group, group], n: 64, k: 32, blocksPerChunk: 1, chunksPerTile: 1, folds: 1,
      chunksPerSlice: 1, tilesPerGroup: 1, tasks: [0, 0, 4, 0],
    },
  ],
  resident: [],
  ops: [{ kind: "linear", scope: "layers.3.mlp", site: "decoder.ts:41:7" }],
  streamedBytesPerStep: 100 * mib,
};

test("every parameter lands where the kernel's struct has it", () => {
  const values = Object.fromEntries(kernelParams.fields.map((field, i) => [field.name, i + 1]));
  const bytes = encodeParams(kernelParams, { ...values, eos: [-1, 2] });
  const view = new DataView(bytes.buffer);
  const at = (name: string) => {
    const field = kernelParams.fields.find((each) => each.name === name);
    if (field === undefined) throw new Error(`no parameter ${name}`);
    return field.offset;
  };
  expect(bytes.length).toBe(kernelParams.bytes);
  expect(view.getBigUint64(at("stream"), true)).toBe(1n);
  expect(view.getUint32(at("promptCount"), true)).toBe(values["promptCount"]);
  expect(view.getFloat64(at("topP"), true)).toBe(values["topP"]);
  expect([0, 4, 8].map((i) => view.getInt32(at("eos") + i, true))).toEqual([-1, 2, 0]);
});

test("a parameter unknown here, or too many values, are refused by name", () => {
  expect(() => encodeParams(kernelParams, {})).toThrow(/parameter stream is unknown/);
  const values = Object.fromEntries(kernelParams.fields.map((field) => [field.name, 0]));
  const eos = Array(maxEosIds + 1).fill(1);
  expect(() => encodeParams(kernelParams, { ...values, eos })).toThrow(/eos holds 8 values, got 9/);
});

test("another GPU, too few SMs and too little memory are refused with numbers", () => {
  const h200 = {
    ordinal: 0, name: "H200", major: 9, minor: 0, sms: 132, totalBytes: 0, l2Bytes: 0,
    sharedBytes: 232_448, cooperative: true,
  };
  expect(() => checkTarget(manifest, h200)).not.toThrow();
  expect(() => checkTarget(manifest, { ...h200, major: 8 })).toThrow(/for sm_90a, H200 is sm_80/);
  const older = { ...manifest, target: "sm_80" };
  expect(() => checkTarget(older, { ...h200, major: 8, minor: 6 })).not.toThrow();
  expect(() => checkTarget(manifest, { ...h200, sms: 100 })).toThrow(/132 SMs.*has 100/);
  expect(packScratchBytes(manifest)).toBe(256 + 2 * 2 * 64 * 32);
  expect(() => checkMemory(manifest, 2000 * mib, 0)).not.toThrow();
  const refusal = (freeMib: number) => {
    try {
      checkMemory(manifest, freeMib * mib, 0);
    } catch (error) {
      return error;
    }
  };
  expect(refusal(500)).toMatchObject({
    message: expect.stringMatching(/context of 4096 tokens.*640.0 MiB of KV.*500.0 MiB are free/),
    fix: "compile with --max-context 2048 or less",
  });
  expect(refusal(100)).toMatchObject({ fix: expect.stringMatching(/weights alone/) });
});

test("a watchdog report names op, layer, SM, event and counts", () => {
  const control = new Uint32Array(64);
  const report = {
    reportKind: ReportKind.event, reportSm: 17, reportInstruction: 5, reportOp: 0, reportEvent: 9,
    reportExpected: 264, reportSeen: 263, reportStep: 1,
  } as const;
  for (const [name, value] of Object.entries(report)) {
    control[ControlWord[name as keyof typeof report]] = value;
  }
  expect(watchdogError(manifest, control).message).toBe(
    "the watchdog ended the kernel: in step 1, SM 17, instruction 5, linear of layers.3.mlp " +
      "(decoder.ts:41:7) waited for event 9: expected 264, saw 263",
  );
});
