/** @file Puts a checkpoint's weights on the GPU: through pinned memory, packed by the kernel. */
import type { Manifest, PackEntry, TensorPart } from "@mpk/cuda/manifest";
import { turn, type OnProgress } from "../backend.ts";
import { requireWeightDType, storedBits, toBf16Words } from "../convert.ts";
import { inputError } from "../errors.ts";
import { spreadOf } from "../random.ts";
import type { Weights } from "../weights.ts";
import type { Device, DevicePointer, Handle, HostMemory } from "./device.ts";
import type { GpuTools } from "./tools.ts";

/** One of the two pinned pieces that uploads go through. */
const pieceBytes = 16 * 2 ** 20;

/** A piece of pinned memory and the event after its last use. */
interface Piece {
  readonly memory: HostMemory;
  readonly event: Handle;
}

interface Uploader {
  /** Copies a tensor as bf16 to `at`; gives its bytes there. */
  tensor(part: TensorPart, at: DevicePointer): Promise<number>;
  words(words: Uint32Array, at: DevicePointer): Promise<void>;
}

/** Bytes of a part as bf16. */
const partBytes = (part: TensorPart) => 2 * part.rows * part.columns;

const groupsBytes = (entry: PackEntry) =>
  entry.groups.map(({ parts }) => parts.reduce((sum, part) => sum + partBytes(part), 0));

/** The task list lies before the sources, which start aligned for the kernel's widest loads. */
const tasksBytes = (entry: PackEntry) => Math.ceil((4 * entry.tasks.length) / 256) * 256;

/** Device bytes that packing needs beside its result, freed before the first launch. */
export function packScratchBytes(manifest: Manifest): number {
  const entries = manifest.pack.map(
    (entry) => tasksBytes(entry) + groupsBytes(entry).reduce((a, b) => a + b, 0),
  );
  return Math.max(0, ...entries);
}

/** Refuses, before anything is uploaded, a checkpoint that does not fit the Manifest. */
export function checkWeights(manifest: Manifest, weights: Weights): void {
  for (const part of allParts(manifest)) findPart(weights, part);
  for (const { value, bytes, parts } of manifest.resident) {
    const asBf16 = parts.reduce((sum, part) => sum + partBytes(part), 0);
    if (asBf16 === bytes) continue;
    throw inputError(
      `weight ${value} is not bf16 in the model: ${bytes} bytes, as bf16 it would have ${asBf16}`,
      "declare it bf16; checkpoints in other formats are converted",
    );
  }
}

const allParts = (manifest: Manifest): readonly TensorPart[] => [
  ...manifest.resident.flatMap((entry) => entry.parts),
  ...manifest.pack.flatMap((entry) => entry.groups.flatMap((group) => group.parts)),
];

/** A part's tensor: [rows, columns], or flat where one of them is 1. */
export function findPart(weights: Weights, { tensor, rows, columns }: TensorPart) {
  const flat = weights.tensor(tensor).shape.length === 1 && (rows === 1 || columns === 1);
  const found = weights.expect(tensor, flat ? [rows * columns] : [rows, columns]);
  return { found, dtype: requireWeightDType(found.dtype, `${found.file}: tensor "${tensor}"`) };
}

/**
 * Uploads the resident weights and packs the streamed ones. Returns once the GPU is done, with
 * Node's event loop turning in between.
 */
export async function packWeights(
  device: Device,
  stream: Handle,
  manifest: Manifest,
  weights: Weights,
  pack: Handle,
  into: { readonly stream: DevicePointer; readonly resident: DevicePointer },
  onProgress: OnProgress,
  tools: GpuTools | null,
): Promise<void> {
  const total = allParts(manifest).reduce((sum, part) => sum + partBytes(part), 0);
  let done = 0;
  const pieces = [pinned(device), pinned(device)] as const;
  const scratch = device.alloc(packScratchBytes(manifest), "packing the weights");
  const onBytes = (bytes: number) => {
    done += bytes;
    onProgress({ stage: "load", done, total });
  };
  const host = uploader(device, stream, weights, pieces, onBytes);
  const { random } = weights;
  const upload = random === undefined || tools === null
    ? host
    : { ...host, tensor: randomTensor(tools, random.seed, onBytes) };
  try {
    for (const entry of manifest.resident) {
      await uploadParts(upload, entry.parts, into.resident + BigInt(entry.offsetBytes));
    }
    for (const entry of manifest.pack) {
      await packEntry(device, stream, manifest, entry, upload, pack, into.stream, scratch);
    }
    for (const { event } of pieces) await settled(device, event, stream);
  } finally {
    device.free(scratch);
    for (const { memory } of pieces) device.freeHost(memory);
  }
}

/** Makes a tensor where it is to lie. */
function randomTensor(
  tools: GpuTools,
  seed: bigint,
  onBytes: (bytes: number) => void,
): Uploader["tensor"] {
  return async (part, at) => {
    const elements = part.rows * part.columns;
    tools.random(at, elements, seed, part.tensor, spreadOf(part.columns));
    onBytes(2 * elements);
    await turn();
    return 2 * elements;
  };
}

async function uploadParts(upload: Uploader, parts: readonly TensorPart[], at: DevicePointer) {
  let to = at;
  for (const part of parts) to += BigInt(await upload.tensor(part, to));
}

async function packEntry(
  device: Device,
  stream: Handle,
  manifest: Manifest,
  entry: PackEntry,
  upload: Uploader,
  pack: Handle,
  dst: DevicePointer,
  scratch: DevicePointer,
): Promise<void> {
  const tasks = Uint32Array.from(entry.tasks);
  await upload.words(tasks, scratch);
  let at = scratch + BigInt(tasksBytes(entry));
  const sources: DevicePointer[] = [];
  const sizes = groupsBytes(entry);
  for (const [g, { parts }] of entry.groups.entries()) {
    sources.push(at);
    await uploadParts(upload, parts, at);
    at += BigInt(sizes[g] ?? 0);
  }
  const pointers = [dst, scratch, ...Array.from({ length: 8 }, (_, g) => sources[g] ?? 0n)];
  const numbers = [
    entry.groups.length, entry.n, entry.k, entry.blocksPerChunk, entry.chunksPerTile,
    entry.chunksPerSlice, entry.tilesPerGroup, entry.folds,
  ];
  device.launch(
    pack,
    {
      blocks: tasks.length / 4,
      threads: manifest.launch.packThreads,
      sharedBytes: 0,
      cooperative: false,
    },
    [...pointers.map((p) => BigUint64Array.of(p)), ...numbers.map((n) => Uint32Array.of(n))],
    stream,
  );
}

function pinned(device: Device): Piece {
  return { memory: device.allocHost(pieceBytes), event: device.event() };
}

async function settled(device: Device, event: Handle, stream: Handle): Promise<void> {
  device.record(event, stream);
  while (!device.done(event)) await turn();
}

/** Copies through two pinned pieces in turn: one fills while the other travels. */
function uploader(
  device: Device,
  stream: Handle,
  weights: Weights,
  pieces: readonly [Piece, Piece],
  onBytes: (bytes: number) => void,
): Uploader {
  let next = 0;
  const send = async (bytes: Uint8Array, at: DevicePointer) => {
    const piece = next++ % 2 === 0 ? pieces[0] : pieces[1];
    while (!device.done(piece.event)) await turn();
    piece.memory.bytes.set(bytes);
    device.upload(at, piece.memory, 0, bytes.length, stream);
    device.record(piece.event, stream);
  };
  return {
    async tensor(part, at) {
      const { found, dtype } = findPart(weights, part);
      const elementBytes = storedBits[dtype] / 8;
      const elements = part.rows * part.columns;
      const step = pieceBytes / 2;
      for (let lo = 0; lo < elements; lo += step) {
        const hi = Math.min(elements, lo + step);
        const words = toBf16Words(found.read(lo * elementBytes, hi * elementBytes), dtype);
        const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
        await send(bytes, at + BigInt(2 * lo));
        onBytes(bytes.length);
        await turn();
      }
      return 2 * elements;
    },
    async words(words, at) {
      const bytes = new Uint8Array(words.buffer);
      for (let lo = 0; lo < bytes.length; lo += pieceBytes) {
        await send(bytes.subarray(lo, lo + pieceBytes), at + BigInt(lo));
      }
    },
  };
}
