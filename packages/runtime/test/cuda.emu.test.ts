/** @file The CUDA backend through the real C ABI, against a driver of host memory. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ControlWord, type Manifest, paramsAsC, profiledParams, profileWords, Status, type TensorPart,
} from "@mpk/cuda/manifest";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findHostCompiler } from "../../../scripts/tiers.ts";
import { openCuda } from "../src/cuda/backend.ts";
import { loadNative, type CValue } from "../src/native.ts";
import { sessionOver, type Session } from "../src/session.ts";
import { openWeights, type Weights } from "../src/weights.ts";
import { writeSafetensors } from "./build.ts";

const dir = mkdtempSync(join(tmpdir(), "mpk-emu-"));
const vocab = 1000;
const part = (tensor: string, rows: number, columns: number): TensorPart => ({
  tensor, rows, columns,
});
const gain = part("gain", 24, 1);
const [up, gate, down] = [part("up", 16, 32), part("gate", 16, 32), part("down", 48, 32)];
const layout = { blocksPerChunk: 1, chunksPerTile: 1, chunksPerSlice: 1, tilesPerGroup: 1 };

const manifest: Manifest = {
  format: "mpk-manifest",
  version: 1,
  model: "fake",
  target: "sm_90a",
  entries: { decode: "mpk_decode", pack: "mpk_pack" },
  launch: { blocks: 132, threads: 288, sharedBytes: 100_000, packThreads: 256 },
  params: profiledParams,
  memory: {
    streamBytes: 512, residentBytes: 48, scratchBytes: 1024, kvBytes: 65_536, eventBytes: 128,
    stepBytes: 128, pages: 4,
  },
  limits: { maxTokens: 8, maxContext: 256, vocab },
  pack: [
    { ...layout, op: 0, n: 16, k: 32, tasks: [0, 0, 1, 0],
      groups: [{ parts: [up] }, { parts: [gate] }] },
    { ...layout, op: 1, n: 64, k: 32, tasks: [1, 0, 2, 0, 3, 2, 4, 0],
      groups: [{ parts: [down, up] }] },
  ],
  resident: [{ value: "gain", offsetBytes: 0, bytes: 48, parts: [gain] }],
  ops: [{ kind: "linear", scope: "layers.0.mlp", site: "model.ts:9:3" }],
  streamedBytesPerStep: 512,
  profile: { records: 2, tasks: Array.from({ length: 132 }, (_, sm) => [0, sm, sm + 1, 8192]) },
};

/** The kernel's checksum: what arrived, and in which order. */
const sum = (bytes: Uint8Array): number =>
  bytes.reduce((total, byte) => (Math.imul(total, 31) + byte) >>> 0, 0);

const bytesOf = ({ rows, columns }: TensorPart, seed: number) =>
  Uint8Array.from({ length: 2 * rows * columns }, (_, i) => (i * seed + (i >> 5)) & 0xff);
const content = {
  gain: bytesOf(gain, 3), up: bytesOf(up, 5), gate: bytesOf(gate, 7), down: bytesOf(down, 11),
};

/** The first token: everything the kernel was given, by the same sums. */
function firstToken(promptIds: readonly number[]): number {
  const stream = new Uint8Array(512).fill(0xee);
  const view = new DataView(stream.buffer);
  const merged = Uint8Array.from([...content.down, ...content.up]);
  const [first, second] = [(sum(content.up) + sum(content.gate)) >>> 0, sum(merged)];
  [[0, first + 1], [1, second + 2], [3, second + 4]].forEach(([at = 0, value = 0]) =>
    view.setUint32(128 * at, value >>> 0, true),
  );
  const prompt = new Uint8Array(Int32Array.from(promptIds).buffer);
  return ((sum(content.gain) + sum(stream) + sum(prompt)) >>> 0) % vocab;
}

const env = {
  LD_LIBRARY_PATH: dir, CUDA_HOME: dir, PATH: `${dir}:/usr/bin:/bin`, HOME: dir,
  XDG_CACHE_HOME: join(dir, "cache"),
};
let weights: Weights;
let fake: { mode(to: number): void; liveBytes(): number };

const constants = () => ({
  kControlStop: ControlWord.stop,
  kControlProduced: ControlWord.produced,
  kControlStatus: ControlWord.status,
  kControlSteps: ControlWord.steps,
  kControlReportKind: ControlWord.reportKind,
  kStatusBadToken: Status.badToken,
  kVocab: vocab,
  kProfileStepWords: 132 * 2 * profileWords,
  kStreamBytes: manifest.memory.streamBytes,
  kResidentBytes: manifest.memory.residentBytes,
});

function buildFake(): string {
  const lines = Object.entries(constants()).map(([name, n]) => `const u32 ${name} = ${n};`);
  writeFileSync(join(dir, "protocol.h"), `${paramsAsC(true)}\n${lines.join("\n")}\n`);
  const library = join(dir, "libcuda.so.1");
  const source = join(import.meta.dirname, "fake_cuda.cpp");
  const options = ["-std=c++17", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-pthread"];
  const built = spawnSync(
    findHostCompiler() ?? "c++",
    [...options, "-I", dir, source, "-o", library],
    { encoding: "utf8" },
  );
  expect(built.stderr).toBe("");
  return library;
}

beforeAll(async () => {
  const { library } = (await loadNative()).load([buildFake()]);
  if (library === null) throw new Error("the fake driver does not load");
  const setMode = library.func("fakeMode", "void", ["int"]);
  const live = library.func("fakeLiveBytes", "uint64_t", []);
  fake = { mode: (to: CValue) => void setMode(to), liveBytes: () => Number(live()) };
  mkdirSync(join(dir, "bin"));
  // Stands in for a compiler: the fake driver takes this for a cubin.
  const nvcc = '#!/bin/sh\nif [ "$1" = --version ]; then echo "release 13.0"; exit; fi\n' +
    'while [ "$1" != -o ]; do shift; done\nprintf CUBIN > "$2"\n';
  writeFileSync(join(dir, "bin", "nvcc"), nvcc);
  chmodSync(join(dir, "bin", "nvcc"), 0o755);
  const tensors = [gain, up, gate, down].map(({ tensor, rows, columns }) => {
    const shape = columns === 1 ? [rows] : [rows, columns];
    const bytes = content[tensor as keyof typeof content];
    return [tensor, { dtype: "BF16", shape, bytes }] as const;
  });
  const file = writeSafetensors(join(dir, "model.safetensors"), Object.fromEntries(tensors));
  weights = await openWeights(file);
}, 60_000);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function open(): Promise<Session> {
  fake.mode(0);
  const source = "// not compiled here";
  const backend = await openCuda({ source, manifest, weights, env });
  return sessionOver(backend, { vocab, maxContext: manifest.limits.maxContext }, []);
}

async function read(tokens: AsyncIterable<number>, until = Infinity): Promise<number[]> {
  const got: number[] = [];
  for await (const token of tokens) if (got.push(token) >= until) break;
  return got;
}

test("weights, prompt and parameters arrive as the kernel expects; nothing leaks", async () => {
  const before = fake.liveBytes();
  const session = await open();
  expect(session.device).toEqual({ kind: "cuda", name: "Fake H200" });
  for (const promptIds of [[1, 2, 3], Array.from({ length: 20 }, (_, i) => i * 9)]) {
    const run = session.generate({ promptIds, maxTokens: 5, logits: "all", stamps: true });
    const first = firstToken(promptIds);
    const expected = Array.from({ length: 5 }, (_, i) => (first + i) % vocab);
    expect(await read(run)).toEqual(expected);
    const promptSteps = Math.ceil(promptIds.length / 8);
    const { logits, stampNanos, ...rest } = run.summary();
    expect(rest).toEqual({
      finish: "maxTokens", promptTokens: promptIds.length, tokens: 5, steps: promptSteps + 4,
      millis: 2.5,
    });
    expect(logits.map((row) => [row.length, row[0], row[512]])).toEqual(
      Array.from({ length: 5 }, (_, i) => [vocab, promptSteps - 1 + i, promptSteps - 0.5 + i]),
    );
    expect(stampNanos).toHaveLength(promptSteps + 4);
  }
  const once = session.generate({ promptIds: [1], maxTokens: 9, logits: "lastPrompt" });
  await read(once);
  expect(once.summary().logits).toHaveLength(1);
  await session.close();
  expect(fake.liveBytes()).toBe(before);
});

test("tokens come while the kernel runs; abort, early exit and EOS end it cleanly", async () => {
  const session = await open();
  const controller = new AbortController();
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const run = session.generate({ promptIds: [1], maxTokens: 200, signal: controller.signal });
  const got: number[] = [];
  for await (const token of run) {
    got.push(token);
    if (got.length === 4) controller.abort();
  }
  clearInterval(timer);
  expect(run.summary()).toMatchObject({ finish: "stopped", tokens: got.length });
  expect(got.length).toBeLessThan(60);
  expect(ticks).toBeGreaterThan(1);

  const again = session.generate({ promptIds: [1], maxTokens: 200 });
  expect(await read(again, 3)).toEqual(got.slice(0, 3));
  const eos = (firstToken([1]) + 6) % vocab;
  const ended = session.generate({ promptIds: [1], eosIds: [5000 % vocab, eos] });
  expect((await read(ended)).at(-1)).toBe(eos);
  expect(ended.summary()).toMatchObject({ finish: "eos", tokens: 7 });
  const aborted = session.generate({ promptIds: [1], signal: AbortSignal.abort() });
  expect(await read(aborted)).toEqual([]);
  expect(aborted.summary().finish).toBe("stopped");
  await session.close();
});

test("a watchdog's report and a fault are told; after a watchdog the session goes on", async () => {
  const session = await open();
  fake.mode(1);
  await expect(read(session.generate({ promptIds: [1], maxTokens: 50 }))).rejects.toMatchObject({
    category: "runtime",
    message:
      "the watchdog ended the kernel: in step 4, SM 17, instruction 5, linear of layers.0.mlp " +
      "(model.ts:9:3) waited for event 9: expected 264, saw 263",
  });
  fake.mode(0);
  expect(await read(session.generate({ promptIds: [1], maxTokens: 2 }))).toHaveLength(2);
  fake.mode(3);
  await expect(read(session.generate({ promptIds: [1], maxTokens: 50 }))).rejects.toMatchObject({
    category: "runtime",
    message: "sample, step 2: no token could be chosen: the logits are not numbers (NaN)",
  });
  fake.mode(2);
  await expect(read(session.generate({ promptIds: [1], maxTokens: 50 }))).rejects.toMatchObject({
    category: "runtime",
    message: "the kernel ended with an error: CUDA_ERROR_ILLEGAL_ADDRESS",
  });
  fake.mode(0);
  await session.close();
});

test("a profile of the steps asked for comes back, and only then", async () => {
  const session = await open();
  const before = fake.liveBytes();
  const profile = { firstStep: 2, steps: 3 };
  const run = session.generate({ promptIds: [1, 2], maxTokens: 4, profile });
  await read(run);
  const steps = run.summary().profile?.steps ?? [];
  // Four tokens in four steps: the fifth did not run.
  expect(steps.map(({ step }) => step)).toEqual([2, 3]);
  expect(steps[1]?.sms).toHaveLength(132);
  expect(steps[1]?.sms[131]?.instructions).toMatchObject([
    { sm: 131, instruction: 0, kind: "linear", layer: 0, tileLo: 131, streamedBytes: 8192 },
  ]);
  expect(steps[1]!.sms[0]!.arrived - steps[0]!.sms[0]!.arrived).toBe(10_000);
  const plain = session.generate({ promptIds: [1], maxTokens: 2 });
  await read(plain);
  expect(plain.summary().profile).toBeUndefined();
  expect(fake.liveBytes()).toBe(before);
  await session.close();
  const { profile: _, ...bare } = manifest;
  const without = sessionOver(
    await openCuda({ source: "", manifest: bare, weights, env }), { vocab, maxContext: 256 }, [],
  );
  await expect(read(without.generate({ promptIds: [1], profile }))).rejects.toMatchObject({
    category: "input", message: "the kernel was compiled without a profile",
  });
  await without.close();
});

test("a generation may start behind rows that the cache has", async () => {
  const session = await open();
  const run = session.generate({ promptIds: [1], startPosition: 250 });
  expect(await read(run)).toHaveLength(5);
  expect(run.summary().finish).toBe("contextFull");
  expect(() => session.generate({ promptIds: [1], startPosition: 255 })).toThrow(
    /1 tokens from position 255 on, the context holds 256/,
  );
  expect(() => session.generate({ promptIds: [1], startPosition: -1 })).toThrow(/startPosition/);
  await session.close();
});

test("too large a context, another checkpoint or GPU are refused; nothing leaks", async () => {
  const before = fake.liveBytes();
  const large = { ...manifest, memory: { ...manifest.memory, kvBytes: 2 ** 30 } };
  const opening = (changed: Manifest) => openCuda({ source: "", manifest: changed, weights, env });
  await expect(opening(large)).rejects.toMatchObject({
    category: "input",
    message: expect.stringMatching(/context of 256 tokens does not fit the GPU: 1024.0 MiB of KV/),
  });
  const [resident] = manifest.resident;
  const wrong = { ...manifest, resident: [{ ...resident!, parts: [part("gain", 25, 1)] }] };
  await expect(opening(wrong)).rejects.toThrow(/"gain" has shape \[24\], expected \[25\]/);
  await expect(opening({ ...manifest, target: "sm_100" })).rejects.toThrow(/sm_100, Fake H200 is/);
  expect(fake.liveBytes()).toBe(before);
});
