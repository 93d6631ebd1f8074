/** @file Reads safetensors files as untrusted input; the tensors' bytes stay on disk, mapped. */
import { closeSync, readSync } from "node:fs";
import { z } from "zod";
import { storedBits, type StoredDType } from "./convert.ts";
import { inputError } from "./errors.ts";
import { openRegular } from "./files.ts";
import { issueText, parseJson, want } from "./json.ts";
import { mapFile } from "./native.ts";

/** One tensor of a file. Its bytes are little-endian, row-major. */
export interface StoredTensor {
  readonly name: string;
  readonly file: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly byteLength: number;
  /** Bytes [lo, hi): shared with the mapping where there is one, so never to be written. */
  read(lo?: number, hi?: number): Uint8Array;
}

export interface SafetensorsFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
  close(): void;
}

/** The format's own limit on its header. */
const maxHeaderBytes = 100_000_000;
const damagedFix = "download the file again, or save it again with safetensors";

/** Beyond every published checkpoint, and what bounds the memory that a header can cost. */
export const safetensorsLimits = Object.freeze({
  headerBytes: maxHeaderBytes,
  tensors: 2 ** 18,
  nameBytes: 1024,
  dims: 16,
});

const sizes = want("a list of whole numbers from 0");
const count = z.int(sizes).nonnegative(sizes);
const dtypeNames = Object.keys(storedBits) as [StoredDType, ...StoredDType[]];
const { dims } = safetensorsLimits;
const entrySchema = z.strictObject({
  dtype: z.enum(dtypeNames, want(`one of ${dtypeNames.join(", ")}`)),
  shape: z.array(count, sizes).max(dims, want(`at most ${dims} dims`)),
  data_offsets: z.tuple([count, count], want("two whole numbers from 0")),
}, want("an object of exactly dtype, shape and data_offsets"));

/** A tensor's place, in bytes from the start of the file. */
interface Entry {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly lo: number;
  readonly hi: number;
}

/**
 * Opens one file and checks its whole header: length, JSON, dtypes, names, and that every byte
 * behind the header belongs to exactly one tensor.
 * @param map null from it: this platform cannot map files, and slices are read instead.
 * @throws MpkError naming the file, the tensor, and the fix.
 */
export async function openSafetensors(
  path: string,
  map: typeof mapFile = mapFile,
): Promise<SafetensorsFile> {
  const { fd, bytes: size } = openRegular(
    path,
    "check the path; a checkpoint directory holds model.safetensors or an index and its shards",
  );
  const { header, mapped } = await readAndMap(path, fd, size, map);
  const bytesAt = mapped === null
    ? (offset: number, length: number) => readExactly(path, fd, offset, length)
    : mapped.bytes;
  const tensors = header.entries.map(
    (entry) => [entry.name, storedTensor(path, entry, bytesAt)] as const,
  );
  if (mapped !== null) closeSync(fd);
  return {
    path,
    tensors: new Map(tensors),
    metadata: header.metadata,
    close: mapped === null ? () => closeSync(fd) : mapped.close,
  };
}

async function readAndMap(path: string, fd: number, size: number, map: typeof mapFile) {
  try {
    const read = (offset: number, length: number) => readExactly(path, fd, offset, length);
    return { header: readSafetensorsHeader(path, size, read), mapped: await map(fd, size) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function storedTensor(
  path: string,
  entry: Entry,
  bytesAt: (offset: number, length: number) => Uint8Array,
): StoredTensor {
  const byteLength = entry.hi - entry.lo;
  return Object.freeze({
    name: entry.name,
    file: path,
    dtype: entry.dtype,
    shape: entry.shape,
    byteLength,
    read(lo = 0, hi = byteLength) {
      if (lo < 0 || hi > byteLength || lo > hi) {
        throw new RangeError(`${entry.name}: bytes [${lo}, ${hi}) of ${byteLength}`);
      }
      return bytesAt(entry.lo + lo, hi - lo);
    },
  });
}

function readExactly(path: string, fd: number, offset: number, length: number): Uint8Array {
  const out = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const got = readSync(fd, out, done, length - done, offset + done);
    if (got === 0) throw truncated(path, offset + length, offset + done);
    done += got;
  }
  return out;
}

function truncated(path: string, expected: number, got: number): Error {
  return inputError(
    `${path}: truncated: ${expected} bytes expected, the file has ${got}`,
    damagedFix,
  );
}

/**
 * Reads and checks the header of `size` bytes that `read` gives slices of; `path` is for messages.
 * @throws MpkError naming the file, the tensor, and the fix.
 */
export function readSafetensorsHeader(
  path: string,
  size: number,
  read: (offset: number, length: number) => Uint8Array,
) {
  if (size < 8) throw truncated(path, 8, size);
  const lengthBytes = read(0, 8);
  const length = new DataView(lengthBytes.buffer, lengthBytes.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes)) {
    throw inputError(
      `${path}: the header claims ${length} bytes, at most ${maxHeaderBytes} are allowed`,
      "is this a safetensors file? Files of other formats (.bin, .gguf) are not read",
    );
  }
  const headerEnd = 8 + Number(length);
  if (headerEnd > size) throw truncated(path, headerEnd, size);
  const header = parseHeader(path, read(8, Number(length)));
  const entries: Entry[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") metadata = parseMetadata(path, value);
    else entries.push(parseEntry(path, name, value, headerEnd, size));
  }
  checkCover(path, entries, headerEnd, size);
  return { entries, metadata };
}

function parseHeader(path: string, bytes: Uint8Array): object {
  const parsed = parseJson(bytes, `${path}: the header`, damagedFix);
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw inputError(`${path}: the header is not a JSON object`, damagedFix);
  }
  const { tensors, nameBytes } = safetensorsLimits;
  const names = Object.keys(parsed);
  if (names.length > tensors) {
    throw inputError(
      `${path}: the header names ${names.length} tensors, at most ${tensors} are read`, damagedFix,
    );
  }
  const long = names.find((name) => Buffer.byteLength(name) > nameBytes);
  if (long !== undefined) {
    throw inputError(
      `${path}: a tensor's name has ${Buffer.byteLength(long)} bytes, at most ${nameBytes} are ` +
        `read: ${JSON.stringify(long.slice(0, 40))}...`,
      damagedFix,
    );
  }
  return parsed;
}

function parseMetadata(path: string, value: unknown): Record<string, string> {
  const result = z.record(z.string(), z.string()).safeParse(value);
  if (result.success) return result.data;
  throw inputError(`${path}: __metadata__ is not a map of strings`, damagedFix);
}

function parseEntry(
  path: string,
  name: string,
  value: unknown,
  headerEnd: number,
  size: number,
): Entry {
  const where = `${path}: tensor ${JSON.stringify(name)}`;
  if (name === "") throw inputError(`${path}: a tensor has an empty name`, damagedFix);
  const parsed = entrySchema.safeParse(value);
  if (!parsed.success) {
    throw inputError(`${where}: ${issueText(parsed.error)}`, damagedFix);
  }
  const { dtype, shape, data_offsets: [lo, hi] } = parsed.data;
  const bits = shape.reduce((product, dim) => product * dim, storedBits[dtype]);
  if (!Number.isSafeInteger(bits) || bits % 8 !== 0) {
    const text = `[${shape.join(", ")}]`;
    throw inputError(`${where}: shape ${text} is no whole number of bytes`, damagedFix);
  }
  if (hi - lo !== bits / 8) {
    throw inputError(
      `${where}: ${dtype} [${shape.join(", ")}] takes ${bits / 8} bytes, ` +
        `data_offsets [${lo}, ${hi}] give ${hi - lo}`,
      damagedFix,
    );
  }
  if (headerEnd + hi > size) {
    throw inputError(
      `${where}: ends at byte ${headerEnd + hi}, the file has ${size} (truncated?)`,
      damagedFix,
    );
  }
  return { name, dtype, shape, lo: headerEnd + lo, hi: headerEnd + hi };
}

/** Every byte behind the header belongs to exactly one tensor, as the format demands. */
function checkCover(
  path: string,
  entries: readonly Entry[],
  headerEnd: number,
  size: number,
): void {
  const byOffset = [...entries].sort((a, b) => a.lo - b.lo || a.hi - b.hi);
  let end = headerEnd;
  let before = "the header";
  for (const entry of byOffset) {
    const name = JSON.stringify(entry.name);
    if (entry.lo < end) {
      throw inputError(`${path}: tensors ${before} and ${name} overlap`, damagedFix);
    }
    if (entry.lo > end) {
      throw inputError(
        `${path}: ${entry.lo - end} bytes between ${before} and ${name} belong to no tensor`,
        damagedFix,
      );
    }
    end = entry.hi;
    before = name;
  }
  if (end !== size) {
    const rest = size - end;
    throw inputError(`${path}: ${rest} bytes after ${before} belong to no tensor`, damagedFix);
  }
}
