/** @file A GPU of host memory for the tests: the fake driver built, a small model, its checkpoint. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ControlWord, type Manifest, paramsAsC, profiledParams, profileWords, Status, StepMark, type TensorPart,
  type Tools,
} from "@mpk/cuda/manifest";
import { findHostCompiler } from "../../../scripts/tiers.ts";
import { openCuda } from "../src/cuda/backend.ts";
import { loadNative, type CValue } from "../src/native.ts";
import { sessionOver, type Session } from "../src/session.ts";
import { openWeights, type Weights } from "../src/weights.ts";
import { writeSafetensors } from "./build.ts";

export const vocab = 1000;
export const part = (tensor: string, rows: number, columns: number): TensorPart => ({
  tensor, rows, columns,
});
const gain = part("gain", 24, 1);
const [up, gate, down] = [part("up", 16, 32), part("gate", 16, 32), part("down", 48, 32)];
const layout = { blocksPerChunk: 1, chunksPerTile: 1, chunksPerSlice: 1, tilesPerGroup: 1, folds: 1 };

export const manifest: Manifest = {
  format: "mpk-manifest",
  version: 1,
  model: "fake",
  target: "sm_90a",
  entries: { decode: "mpk_decode", pack: "mpk_pack" },
  launch: { blocks: 132, threads: 288, sharedBytes: 100_000, packThreads: 256 },
  params: profiledParams,
  memory: {
    streamBytes: 512, residentBytes: 48, scratchBytes: 1024, kvBytes: 65_536, eventBytes: 128,
    stepBytes: 128, pages: 4, flags: { offsetBytes: 512, bytes: 256, inputs: [] },
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
const stored = ({ tensor }: TensorPart) => content[tensor as keyof typeof content];

/** The first token: everything the kernel was given, by the same sums. */
export function firstToken(promptIds: readonly number[], of = stored): number {
  const stream = new Uint8Array(512).fill(0xee);
  const view = new DataView(stream.buffer);
  const merged = Uint8Array.from([...of(down), ...of(up)]);
  const [first, second] = [(sum(of(up)) + sum(of(gate))) >>> 0, sum(merged)];
  [[0, first + 1], [1, second + 2], [3, second + 4]].forEach(([at = 0, value = 0]) =>
    view.setUint32(128 * at, value >>> 0, true),
  );
  const prompt = new Uint8Array(Int32Array.from(promptIds).buffer);
  return ((sum(of(gain)) + sum(stream) + sum(prompt)) >>> 0) % vocab;
}

const constants = () => ({
  kControlStop: ControlWord.stop,
  kControlProduced: ControlWord.produced,
  kControlStatus: ControlWord.status,
  kControlSteps: ControlWord.steps,
  kControlReportKind: ControlWord.reportKind,
  kStatusBadToken: Status.badToken,
  kVocab: vocab,
  kProfileStepWords: 132 * 2 * profileWords,
  kProfileWords: profileWords,
  kArrivedNanos: StepMark.arrivedNanos,
  kDoneNanos: StepMark.doneNanos,
  kStreamBytes: manifest.memory.streamBytes,
  kResidentBytes: manifest.memory.residentBytes,
  kFlagOffset: manifest.memory.flags?.offsetBytes ?? 0,
  kFlagBytes: manifest.memory.flags?.bytes ?? 0,
});

function buildFake(dir: string): string {
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
  if (built.status !== 0 || built.stderr !== "") throw new Error(built.stderr);
  return library;
}

/** What is held on the fake GPU. */
export interface Held {
  /** References to the primary context. */
  readonly contexts: number;
  readonly memories: number;
  readonly bytes: number;
  readonly streams: number;
  readonly events: number;
  readonly modules: number;
  /** Memory given back while the kernel was using it: the driver waited for its end. */
  readonly freedBusy: number;
}

/** One driver call made to fail. */
export interface Fault {
  readonly call: string;
  /** Which one of this name, from 1. */
  readonly nth: number;
  readonly code: number;
  /** All later calls that do not give something back fail too, as after a kernel's fault. */
  readonly sticky: boolean;
}

interface Measuring extends Pick<Weights, "random"> {
  readonly tools?: Tools;
  readonly lostMillis?: number;
}

export interface FakeGpu {
  readonly dir: string;
  readonly env: Readonly<Record<string, string>>;
  mode(to: "normal" | "watchdog" | "fault" | "badToken" | "stuck" | "deaf"): void;
  held(): Held;
  /** Plants a fault, or none, and counts calls anew. */
  plant(fault: Fault | null): void;
  /** Whether the planted fault has happened. */
  hit(): boolean;
  /** Calls by name since `plant`. */
  calls(): Readonly<Record<string, number>>;
  /** Gives back a context whose release was made to fail. */
  releaseContext(): void;
  /** `more`: random weights in place of the checkpoint's, and the measuring kernels. */
  open(kernel?: Manifest, more?: Measuring): Promise<Session>;
  close(): void;
}

const modes = ["normal", "watchdog", "fault", "badToken", "stuck", "deaf"];

/** Builds and loads the fake driver, and writes the checkpoint. */
export async function fakeGpu(): Promise<FakeGpu> {
  const dir = mkdtempSync(join(tmpdir(), "mpk-emu-"));
  const { library } = (await loadNative()).load([buildFake(dir)]);
  if (library === null) throw new Error("the fake driver does not load");
  const setMode = library.func("fakeMode", "void", ["int"]);
  const fill = library.func("fakeHeld", "void", ["void *"]);
  const fault = library.func("fakePlant", "void", ["str", "int", "int", "int"]);
  const release = library.func("cuDevicePrimaryCtxRelease_v2", "int", ["int"]);
  const wasHit = library.func("fakeHit", "int", []);
  const count = library.func("fakeCalls", "void", ["void *", "int"]);
  const env = {
    LD_LIBRARY_PATH: dir, CUDA_HOME: dir, PATH: `${dir}:/usr/bin:/bin`, HOME: dir,
    XDG_CACHE_HOME: join(dir, "cache"),
  };
  mkdirSync(join(dir, "bin"));
  // Stands in for a compiler: the fake driver takes this for a cubin.
  const nvcc = '#!/bin/sh\nif [ "$1" = --version ]; then echo "release 13.0"; exit; fi\n' +
    'while [ "$1" != -o ]; do shift; done\nprintf CUBIN > "$2"\n';
  writeFileSync(join(dir, "bin", "nvcc"), nvcc);
  chmodSync(join(dir, "bin", "nvcc"), 0o755);
  const tensors = [gain, up, gate, down].map(({ tensor, rows, columns }) => {
    const shape = columns === 1 ? [rows] : [rows, columns];
    const bytes = stored({ tensor, rows, columns });
    return [tensor, { dtype: "BF16", shape, bytes }] as const;
  });
  const file = writeSafetensors(join(dir, "model.safetensors"), Object.fromEntries(tensors));
  const weights = await openWeights(file);
  return {
    dir,
    env,
    mode: (to) => void setMode(modes.indexOf(to)),
    held() {
      const out = new BigUint64Array(7);
      fill(out);
      const [contexts = 0, memories = 0, bytes = 0, streams = 0, events = 0, modules = 0,
        freedBusy = 0] = Array.from(out, Number);
      return { contexts, memories, bytes, streams, events, modules, freedBusy };
    },
    plant(planted) {
      const { call, nth, code, sticky } = planted ?? { call: "", nth: 0, code: 0, sticky: false };
      const args: readonly CValue[] = [call, nth, code, sticky ? 1 : 0];
      fault(...args);
    },
    hit: () => wasHit() === 1,
    calls() {
      const out = new Uint8Array(8192);
      count(out, out.length);
      const text = new TextDecoder().decode(out.subarray(0, out.indexOf(0)));
      const pairs = text.trim().split("\n").map((line) => line.split(" "));
      return Object.fromEntries(pairs.map(([name = "", n]) => [name, Number(n)]));
    },
    releaseContext: () => void release(0),
    async open(kernel = manifest, { tools, lostMillis, ...random } = {}) {
      setMode(0);
      const backend = await openCuda({
        source: "// not compiled here", manifest: kernel, weights: { ...weights, ...random }, env,
        ...(tools === undefined ? {} : { tools }),
        ...(lostMillis === undefined ? {} : { lostMillis }),
      });
      return sessionOver(backend, { vocab, maxContext: manifest.limits.maxContext }, []);
    },
    close() {
      weights.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

export async function read(tokens: AsyncIterable<number>, until = Infinity): Promise<number[]> {
  const got: number[] = [];
  for await (const token of tokens) if (got.push(token) >= until) break;
  return got;
}
