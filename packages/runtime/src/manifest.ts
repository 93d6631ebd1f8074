/** @file Reads a Manifest from a file as untrusted input: what it says fits together and is bounded. */
import type { Manifest, PackEntry, ParamType, TensorPart } from "@mpk/cuda/manifest";
import { z } from "zod";
import { inputError } from "./errors.ts";
import { readBounded } from "./files.ts";
import { narrow, parseJson, want } from "./json.ts";

/** An 8B model's has 2 MB. */
const manifestBytes = 256 * 2 ** 20;
/** Beyond any GPU's memory, and exact in every sum of sizes. */
const mostBytes = 2 ** 46;

const whole = (least: number, most: number) => {
  const text = want(`a whole number from ${least} to ${most}`);
  return z.int(text).min(least, text).max(most, text);
};
const bytes = whole(0, mostBytes);
const u32 = whole(0, 2 ** 32 - 1);
const size = whole(1, 2 ** 31 - 1);
const text = z.string(want("a text in quotes"));
const list = <T extends z.ZodType>(of: T) => z.array(of, want("a list"));
const object = <T extends z.ZodRawShape>(fields: T) =>
  z.strictObject(fields, want(`an object of exactly ${Object.keys(fields).join(", ")}`));
const identifier = text.regex(/^[A-Za-z_]\w*$/, want("a C identifier"));

const part = object({
  // C ends a text at a zero character.
  tensor: text.max(1024, want("at most 1024 characters")).regex(/^[^\0]*$/, want("no zero character")),
  rows: size,
  columns: size,
});

const typeBytes = { ptr: 8, u64: 8, f64: 8, u32: 4, i32: 4, f32: 4 } satisfies Record<ParamType, number>;
const types = Object.keys(typeBytes) as [ParamType, ...ParamType[]];

const field = object({
  name: identifier, type: z.enum(types, want(types.join(", "))), offset: whole(0, 4096),
  count: whole(1, 64),
});

const pack = object({
  op: u32, groups: list(object({ parts: list(part) })), n: size, k: size,
  blocksPerChunk: whole(1, 256), chunksPerTile: whole(1, 2 ** 20), chunksPerSlice: whole(1, 2 ** 20),
  tilesPerGroup: whole(1, 2 ** 20), folds: whole(1, 4), tasks: list(u32),
});

const flags = object({
  offsetBytes: bytes, bytes, inputs: list(object({ op: u32, input: u32, value: text })),
});

const schema = z.strictObject({
  format: z.literal("mpk-manifest", want('"mpk-manifest"')),
  version: z.literal(1, want("1: this is another version's")),
  model: text,
  target: text.regex(/^sm_\d{2,3}[a-z]?$/, want("a target such as sm_90a")),
  entries: object({ decode: identifier, pack: identifier }),
  launch: object({
    blocks: whole(1, 4096), threads: whole(32, 1024), sharedBytes: whole(0, 2 ** 20),
    packThreads: whole(1, 1024),
  }),
  params: object({ bytes: whole(1, 4096), fields: list(field) }),
  memory: object({
    streamBytes: bytes, residentBytes: bytes, scratchBytes: bytes, kvBytes: bytes,
    eventBytes: bytes, stepBytes: bytes, pages: size, flags: flags.optional(),
  }),
  limits: object({ maxTokens: size, maxContext: size, vocab: size }),
  pack: list(pack),
  resident: list(object({ value: text, offsetBytes: bytes, bytes, parts: list(part) })),
  ops: list(object({ kind: text, scope: text, site: text })),
  streamedBytesPerStep: bytes,
  profile: object({ records: size, tasks: list(list(u32)) }).optional(),
}, want("a Manifest, as `mpk compile` writes it"));

const elements = (parts: readonly TensorPart[]): number =>
  parts.reduce((sum, { rows, columns }) => sum + rows * columns, 0);

/** Chunks are whole blocks of 1,024 bytes; offsets count 128 bytes. */
function packProblem(entry: PackEntry, streamBytes: number): string | null {
  const { groups, n, k, tasks, chunksPerTile, blocksPerChunk, folds } = entry;
  if (![1, 2, 4, 8].includes(groups.length)) return `has ${groups.length} groups, not 1, 2, 4 or 8`;
  if (![1, 2, 4].includes(folds)) return `has ${folds} folds, not 1, 2 or 4`;
  const odd = groups.find(({ parts }) => elements(parts) !== n * k);
  if (odd !== undefined) return `has a weight of ${elements(odd.parts)} elements, not ${n} · ${k}`;
  if (tasks.length % 4 !== 0) return `has ${tasks.length} task words, not four a task`;
  for (let i = 0; i < tasks.length; i += 4) {
    const [at = 0, lo = 0, hi = 0] = tasks.slice(i, i + 4);
    const end = at * 128 + (hi - lo) * chunksPerTile * blocksPerChunk * 1024;
    if (hi < lo || end > streamBytes) {
      return `task ${i / 4}: tiles ${lo}..${hi} from byte ${at * 128} do not fit ${streamBytes} bytes`;
    }
  }
  return null;
}

/** What does not fit together, or null. */
function problemOf({ pack: entries, resident, memory, params }: Manifest): string | null {
  for (const { name, type, offset, count } of params.fields) {
    const isInside = offset + count * typeBytes[type] <= params.bytes;
    if (!isInside || offset % typeBytes[type] !== 0) return `params: ${name} is not in its struct`;
  }
  const { flags: filled } = memory;
  if (filled !== undefined && filled.offsetBytes + filled.bytes > memory.scratchBytes) {
    return "memory.flags: ends beyond scratchBytes";
  }
  for (const { value, offsetBytes, bytes: own, parts } of resident) {
    if (2 * elements(parts) !== own) return `resident ${JSON.stringify(value)}: its parts do not fill it`;
    if (offsetBytes + own > memory.residentBytes) {
      return `resident ${JSON.stringify(value)}: ends beyond residentBytes`;
    }
  }
  for (const [i, entry] of entries.entries()) {
    const problem = packProblem(entry, memory.streamBytes);
    if (problem !== null) return `pack.${i} ${problem}`;
  }
  return null;
}

/** The Manifest in a file's bytes. @throws MpkError naming `who` and the field at fault. */
export function parseManifest(content: Uint8Array, who: string): Manifest {
  const fix = "compile the model again";
  // Without a profile the field is not there: JSON has no undefined.
  const manifest = narrow(parseJson(content, who, fix), schema, who, fix) as Manifest;
  const problem = problemOf(manifest);
  if (problem !== null) throw inputError(`${who}: ${problem}`, fix);
  return Object.freeze(manifest);
}

/** Reads manifest.json, as `mpk compile` writes it. @throws MpkError naming the field at fault. */
export const readManifest = (path: string): Manifest =>
  parseManifest(readBounded(path, manifestBytes), path);
