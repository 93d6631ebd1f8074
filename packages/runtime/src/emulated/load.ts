/** @file A checkpoint's weights into the emulated device, packed by the kernel's own code. */
import type { Manifest, PackEntry, TensorPart } from "@mpk/cuda/manifest";
import { turn, type OnProgress } from "../backend.ts";
import { storedBits, toBf16Words, toFloat32, type WeightDType } from "../convert.ts";
import { findPart } from "../cuda/pack.ts";
import { inputError } from "../errors.ts";
import type { Weights } from "../weights.ts";
import { bytesOf, expectAnswer, write, type Allocate, type EmulatedBuffer } from "./backend.ts";
import { Answer, Request, type EmulatorProcess } from "./child.ts";

const elementsOf = (parts: readonly TensorPart[]): number =>
  parts.reduce((sum, { rows, columns }) => sum + rows * columns, 0);

/** Bytes of one element of a resident weight: 2 (bf16) or 4 (float32). */
function widthOf({ value, bytes, parts }: Manifest["resident"][number]): 2 | 4 {
  const width = bytes / elementsOf(parts);
  if (width === 2 || width === 4) return width;
  throw inputError(
    `manifest: weight ${value} has ${bytes} bytes for ${elementsOf(parts)} elements`,
    "compile again with the same version of mpk",
  );
}

/** Refuses a checkpoint that does not fit the Manifest before anything is built. */
export function checkEmulatedWeights(manifest: Manifest, weights: Weights): void {
  for (const entry of manifest.resident) {
    widthOf(entry);
    for (const part of entry.parts) findPart(weights, part);
  }
  for (const { groups } of manifest.pack) {
    for (const { parts } of groups) for (const part of parts) findPart(weights, part);
  }
}

/** Elements in one message. */
const pieceElements = 2 ** 22;

const encode = (bytes: Uint8Array, dtype: WeightDType, width: 2 | 4): ArrayBufferView =>
  width === 2 ? toBf16Words(bytes, dtype) : toFloat32(bytes, dtype);

async function uploadParts(
  child: EmulatorProcess,
  weights: Weights,
  parts: readonly TensorPart[],
  to: EmulatedBuffer,
  offset: number,
  width: 2 | 4,
): Promise<void> {
  let at = offset;
  for (const part of parts) {
    const { found, dtype } = findPart(weights, part);
    const stored = storedBits[dtype] / 8;
    const elements = part.rows * part.columns;
    for (let lo = 0; lo < elements; lo += pieceElements) {
      const hi = Math.min(elements, lo + pieceElements);
      await write(child, to, encode(found.read(lo * stored, hi * stored), dtype, width), at);
      at += (hi - lo) * width;
      await turn();
    }
  }
}

/** Uploads the resident weights, and packs the streamed ones as the kernel's text does. */
export async function loadWeights(
  child: EmulatorProcess,
  allocate: Allocate,
  manifest: Manifest,
  weights: Weights,
  into: { readonly stream: EmulatedBuffer; readonly resident: EmulatedBuffer },
  onProgress: OnProgress,
): Promise<void> {
  const total = manifest.resident.length + manifest.pack.length;
  let done = 0;
  const report = () => onProgress({ stage: "load", done: ++done, total });
  for (const entry of manifest.resident) {
    const { parts, offsetBytes } = entry;
    await uploadParts(child, weights, parts, into.resident, offsetBytes, widthOf(entry));
    report();
  }
  const sizes = manifest.pack.map(packBytes);
  const scratch = await allocate(Math.max(0, ...sizes), "weights to pack");
  for (const entry of manifest.pack) {
    await packEntry(child, weights, manifest, entry, into.stream, scratch);
    report();
  }
  await child.send(Request.free, scratch.which);
}

const groupBytes = (entry: PackEntry): readonly number[] =>
  entry.groups.map(({ parts }) => 2 * elementsOf(parts));

const tasksBytes = (entry: PackEntry): number => Math.ceil((4 * entry.tasks.length) / 256) * 256;

/** Task list and sources of an entry, one after another. */
const packBytes = (entry: PackEntry): number =>
  groupBytes(entry).reduce((sum, bytes) => sum + bytes, tasksBytes(entry));

async function packEntry(
  child: EmulatorProcess,
  weights: Weights,
  manifest: Manifest,
  entry: PackEntry,
  stream: EmulatedBuffer,
  scratch: EmulatedBuffer,
): Promise<void> {
  await write(child, scratch, Uint32Array.from(entry.tasks));
  const sources = new BigUint64Array(8);
  let at = tasksBytes(entry);
  for (const [g, { parts }] of entry.groups.entries()) {
    sources[g] = scratch.address + BigInt(at);
    await uploadParts(child, weights, parts, scratch, at, 2);
    at += groupBytes(entry)[g] ?? 0;
  }
  const blocks = entry.tasks.length / 4;
  const grid = Uint32Array.of(stream.which, scratch.which, manifest.launch.packThreads, blocks);
  const numbers = Uint32Array.of(
    entry.groups.length, entry.n, entry.k, entry.blocksPerChunk, entry.chunksPerTile,
    entry.chunksPerSlice, entry.tilesPerGroup, entry.folds,
  );
  const tasksOffset = BigUint64Array.of(0n);
  await child.send(
    Request.pack, 0, bytesOf(grid), bytesOf(sources), bytesOf(tasksOffset), bytesOf(numbers),
  );
  await expectAnswer(child, Answer.done);
}
