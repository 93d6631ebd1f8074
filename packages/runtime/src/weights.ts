/** @file A checkpoint's weights: one safetensors file, or shards with their index. */
import { existsSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { inputError } from "./errors.ts";
import { readBounded } from "./files.ts";
import { jsonLimits, narrow, parseJson, want } from "./json.ts";
import { openSafetensors, type SafetensorsFile, type StoredTensor } from "./safetensors.ts";

export interface Weights {
  /** Bytes of all tensors. */
  readonly bytes: number;
  readonly names: readonly string[];
  /** Of random weights, which a device may make itself; see random.ts. */
  readonly random?: { readonly seed: bigint };
  has(name: string): boolean;
  /** @throws MpkError naming the tensor and what the checkpoint has instead. */
  tensor(name: string): StoredTensor;
  /** As `tensor`, and refuses another shape. */
  expect(name: string, shape: readonly number[]): StoredTensor;
  /** Unmaps the files: no bytes read before may be used any more. */
  close(): void;
}

const singleName = "model.safetensors";
const indexName = "model.safetensors.index.json";

/** Shards of one checkpoint; the largest published ones have 200. */
const maxShards = 1024;

const mapOfNames = want("an object from tensor names to file names");
const indexSchema = z.object(
  { weight_map: z.record(z.string(), z.string(want("a file name in quotes")), mapOfNames) },
  want("an object with weight_map"),
);

/**
 * Opens the weights at a directory (model.safetensors, or the index and its shards), an index
 * file or one .safetensors file.
 * @throws MpkError naming the file or tensor at fault.
 */
export async function openWeights(path: string): Promise<Weights> {
  const file = locate(path);
  if (!file.endsWith(".json")) return collect(file, [await openSafetensors(file)]);
  return openShards(file);
}

function locate(path: string): string {
  if (!existsSync(path)) throw inputError(`${path}: no such file or directory`, "check the path");
  if (!statSync(path).isDirectory()) return path;
  for (const name of [singleName, indexName]) {
    const file = join(path, name);
    if (existsSync(file)) return file;
  }
  throw inputError(
    `${path}: no weights: neither ${singleName} nor ${indexName} is there`,
    "point to a directory saved by save_pretrained(..., safe_serialization=True)",
  );
}

/**
 * The file of each tensor, from the bytes of an index; `who` is named in errors. Files are beside
 * the index.
 */
export function readIndex(bytes: Uint8Array, who: string): ReadonlyMap<string, string> {
  const parsed = narrow(parseJson(bytes, who, "download it again"), indexSchema, who);
  const map = new Map(Object.entries(parsed.weight_map));
  const shards = new Set(map.values());
  if (shards.size > maxShards) {
    throw inputError(
      `${who}: names ${shards.size} shards, at most ${maxShards} are read`,
      "save the checkpoint again with larger shards",
    );
  }
  for (const shard of shards) {
    if (isPlainName(shard)) continue;
    throw inputError(
      `${who}: shard ${JSON.stringify(shard.slice(0, 200))} is not a plain file name`,
      "an index may only name files beside it",
    );
  }
  return map;
}

async function openShards(indexFile: string): Promise<Weights> {
  const map = readIndex(readBounded(indexFile, jsonLimits.indexBytes), indexFile);
  const files = new Map<string, SafetensorsFile>();
  try {
    for (const shard of new Set(map.values())) {
      files.set(shard, await openSafetensors(join(dirname(indexFile), shard)));
    }
    for (const [tensor, shard] of map) {
      if (files.get(shard)?.tensors.has(tensor)) continue;
      throw inputError(
        `${indexFile}: tensor ${JSON.stringify(tensor)} is not in ${shard}`,
        "the index and the shards are of different checkpoints; download both again",
      );
    }
    return collect(indexFile, [...files.values()]);
  } catch (error) {
    for (const file of files.values()) file.close();
    throw error;
  }
}

/** A file beside the index: no folder, and no zero byte that C would end it at. */
const isPlainName = (name: string): boolean =>
  basename(name) === name && name.length <= 255 && !["", ".", ".."].includes(name) && !name.includes("\0");

function collect(source: string, files: readonly SafetensorsFile[]): Weights {
  const tensors = new Map<string, StoredTensor>();
  for (const file of files) {
    for (const [name, tensor] of file.tensors) {
      const other = tensors.get(name);
      if (other !== undefined) {
        throw inputError(
          `tensor ${JSON.stringify(name)} is in ${other.file} and in ${file.path}`,
          "remove the stale shard",
        );
      }
      tensors.set(name, tensor);
    }
  }
  const tensor = (name: string): StoredTensor => {
    const found = tensors.get(name);
    if (found !== undefined) return found;
    throw inputError(
      `${source}: tensor ${JSON.stringify(name)} is missing${nearest(name, tensors.keys())}`,
      "the checkpoint does not fit its config.json, or a shard is missing",
    );
  };
  return {
    bytes: [...tensors.values()].reduce((sum, each) => sum + each.byteLength, 0),
    names: [...tensors.keys()],
    has: (name) => tensors.has(name),
    tensor,
    expect(name, shape) {
      const found = tensor(name);
      if (sameShape(found.shape, shape)) return found;
      throw inputError(
        `${found.file}: tensor ${JSON.stringify(name)} has shape [${found.shape.join(", ")}], ` +
          `expected [${shape.join(", ")}]`,
        "config.json and the weights are of different models",
      );
    },
    close: () => files.forEach((file) => file.close()),
  };
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}

/** A hint where the only difference is a prefix, such as `model.`. */
function nearest(name: string, names: Iterable<string>): string {
  for (const other of names) {
    if (other.endsWith(`.${name}`) || name.endsWith(`.${other}`)) return ` (there is ${other})`;
  }
  return "";
}
