/** @file A small Manifest with its checkpoint, and compiled programs over the launcher's files. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packStream, type StreamLayout } from "@mpk/schedule";
import { emitLauncher } from "../../src/launcher/launcher.ts";
import {
  kernelParams, type Manifest, type PackEntry, type TensorPart,
} from "../../src/manifest.ts";

/** A folder for one test file, and its end. */
export function testFolder(name: string): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), `mpk-${name}-`));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export interface TestTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export type Tensors = Readonly<Record<string, TestTensor>>;

/** A safetensors file's bytes; `edit` may spoil the header before it is written. */
export function safetensorsBytes(
  tensors: Tensors,
  edit: (header: Record<string, unknown>) => unknown = (header) => header,
): Uint8Array {
  let end = 0;
  const header = Object.entries(tensors).map(([name, { dtype, shape, bytes }]) => {
    const data_offsets = [end, (end += bytes.length)];
    return [name, { dtype, shape, data_offsets }] as const;
  });
  const text = new TextEncoder().encode(JSON.stringify(edit(Object.fromEntries(header))));
  const out = new Uint8Array(8 + text.length + end);
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true);
  out.set(text, 8);
  let at = 8 + text.length;
  for (const { bytes } of Object.values(tensors)) {
    out.set(bytes, at);
    at += bytes.length;
  }
  return out;
}

export function bf16Tensor(shape: readonly number[], words: Uint16Array): TestTensor {
  return { dtype: "BF16", shape, bytes: new Uint8Array(words.buffer.slice(0)) };
}

/** Distinct bits for each element of each tensor. */
function wordsOf(seed: number, count: number): Uint16Array {
  return Uint16Array.from({ length: count }, (_, i) => (i * 7919 + seed * 104729) % 65521);
}

const part = (tensor: string, rows: number, columns: number): TensorPart => ({
  tensor, rows, columns,
});

const pack = { op: 1, chunksPerSlice: 2, tilesPerGroup: 2, blocksPerChunk: 1, folds: 1 };

/** Two streamed ops: stacked parts and odd sizes, two groups in two folds; their tasks end to end. */
const streamed: readonly PackEntry[] = [
  {
    ...pack, n: 40, k: 70, chunksPerTile: 3,
    groups: [{ parts: [part("q", 24, 70), part('odd "name"?', 16, 70)] }],
    tasks: [0, 0, 2, 0, 48, 2, 3, 0],
  },
  {
    ...pack, op: 2, n: 20, k: 40, chunksPerTile: 1, folds: 2,
    groups: [{ parts: [part("gate", 20, 40)] }, { parts: [part("up", 20, 40)] }],
    tasks: [72, 0, 5, 0],
  },
];

export const tinyManifest: Manifest = {
  format: "mpk-manifest",
  version: 1,
  model: 'a "tiny"\n*/ model',
  target: "sm_90a",
  entries: { decode: "mpk_decode", pack: "mpk_pack" },
  launch: { blocks: 2, threads: 64, sharedBytes: 4096, packThreads: 32 },
  params: kernelParams,
  memory: {
    streamBytes: 14 * 1024, residentBytes: 1312, scratchBytes: 256, kvBytes: 512,
    eventBytes: 384, stepBytes: 128, pages: 4,
    flags: { offsetBytes: 64, bytes: 128, inputs: [] },
  },
  limits: { maxTokens: 2, maxContext: 64, vocab: 32 },
  pack: streamed,
  resident: [
    { value: "table", offsetBytes: 0, bytes: 1024, parts: [part("embed", 32, 16)] },
    { value: "gain", offsetBytes: 1280, bytes: 32, parts: [part("norm", 16, 1)] },
  ],
  ops: [
    { kind: "embedding", scope: "", site: "" },
    { kind: "linear", scope: 'layers.0 "a"', site: "model.ts:3:5" },
    { kind: "linear", scope: "layers.0.mlp", site: "" },
  ],
  streamedBytesPerStep: 14 * 1024,
};

const groupsOf = (manifest: Manifest) => [
  ...manifest.resident,
  ...manifest.pack.flatMap(({ groups }) => groups),
];

/** Every tensor of the Manifest, in bf16; one-column ones are flat. */
export function tinyTensors(manifest: Manifest = tinyManifest): Tensors {
  const parts = groupsOf(manifest).flatMap((group) => group.parts);
  return Object.fromEntries(
    parts.map(({ tensor, rows, columns }, i) => {
      const shape = columns === 1 ? [rows] : [rows, columns];
      return [tensor, bf16Tensor(shape, wordsOf(i, rows * columns))];
    }),
  );
}

function joined(parts: readonly TensorPart[], tensors: Tensors): Uint16Array {
  const words = parts.flatMap(({ tensor }) => {
    const { bytes } = tensors[tensor] ?? { bytes: new Uint8Array() };
    return [...new Uint16Array(bytes.buffer)];
  });
  return Uint16Array.from(words);
}

/** The packed image that the schedule's own packing gives, as hex. */
export function expectedStream(manifest: Manifest, tensors: Tensors): string {
  const image = Buffer.alloc(manifest.memory.streamBytes, 0xa5);
  for (const { groups, tasks, op: _op, ...sizes } of manifest.pack) {
    const inputs = groups.map((_, i) => i);
    const layout: StreamLayout = { ...sizes, format: "mma-a-bf16", weights: inputs };
    const weights = groups.map(({ parts }) => joined(parts, tensors));
    for (let i = 0; i < tasks.length; i += 4) {
      const [at = 0, lo = 0, hi = 0] = tasks.slice(i, i + 3);
      image.set(packStream(layout, weights, lo, hi), 128 * at);
    }
  }
  return image.toString("hex");
}

export function expectedResident(manifest: Manifest, tensors: Tensors): string {
  const arena = Buffer.alloc(manifest.memory.residentBytes, 0xa5);
  for (const { offsetBytes, parts } of manifest.resident) {
    arena.set(new Uint8Array(joined(parts, tensors).buffer), offsetBytes);
  }
  return arena.toString("hex");
}

/** Writes files into a new folder; gives its path. */
export function writeFolder(
  path: string,
  files: Readonly<Record<string, string | Uint8Array>>,
): string {
  mkdirSync(path, { recursive: true });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(path, name), content);
  return path;
}

export function writeLauncher(path: string, manifest: Manifest = tinyManifest): string {
  return writeFolder(path, emitLauncher(manifest));
}

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program; sanitizers and compilers speak on stderr. */
export function run(program: string, args: readonly string[], cwd?: string): Ran {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    ...(cwd === undefined ? {} : { cwd }),
  });
  if (error !== undefined) throw error;
  return { code: status, stdout, stderr };
}

/** As `run`, and throws unless the program succeeds without a word on stderr. */
export function runCleanly(program: string, args: readonly string[], cwd?: string): string {
  const { code, stdout, stderr } = run(program, args, cwd);
  if (code !== 0 || stderr !== "") {
    throw new Error(`${program} ${args.join(" ")}: exit ${code}\n${stdout}\n${stderr}`);
  }
  return stdout;
}
