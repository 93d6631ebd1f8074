/** @file Reads the golden cases: checkpoints with what transformers computes from them. */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fromBf16Bits } from "@mpk/ir";
import type { WeightData, WeightSource } from "@mpk/ir";

const root = new URL("../goldens/", import.meta.url).pathname;

export interface Golden {
  readonly name: string;
  readonly config: unknown;
  readonly weights: WeightSource;
  /** Names of all tensors of the checkpoint. */
  readonly tensors: readonly string[];
  readonly promptIds: readonly number[];
  /** What transformers goes on with, the best token each time. */
  readonly greedyIds: readonly number[];
  /** Per step, the gap between the two best logits. */
  readonly topGaps: readonly number[];
  /** Float32 logits after each prompt token, and after each generated one. */
  readonly promptLogits: readonly Float32Array[];
  readonly stepLogits: readonly Float32Array[];
  /** What transformers' own bf16 run makes of the prompt. */
  readonly bf16PromptLogits: readonly Float32Array[];
}

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** A trusted file's tensors; the format is that of the safetensors library. */
function readTensors(path: string): Map<string, WeightData> {
  const bytes = readFileSync(path);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerBytes)) as Record<string, Entry>;
  const tensors = Object.entries(header).filter(([name]) => name !== "__metadata__");
  return new Map(tensors.map(([name, { dtype, shape, data_offsets: [from, to] }]) => {
    const start = 8 + headerBytes;
    const own = Uint8Array.from(bytes.subarray(start + from, start + to)).buffer;
    return [name, { shape, data: dtype === "F32" ? new Float32Array(own) : new Uint16Array(own) }];
  }));
}

function rowsOf(tensor: WeightData | undefined): readonly Float32Array[] {
  if (!tensor) throw new Error("the golden file lacks a tensor");
  const data = tensor.data instanceof Uint16Array ? fromBf16Bits(tensor.data) : tensor.data;
  const [rows = 0, columns = 0] = tensor.shape;
  return Array.from({ length: rows }, (_, i) => data.subarray(i * columns, (i + 1) * columns));
}

function readGolden(name: string): Golden {
  const folder = join(root, name);
  const json = (file: string): unknown => JSON.parse(readFileSync(join(folder, file), "utf8"));
  const shards = readdirSync(folder).filter((file) => /^model.*\.safetensors$/.test(file));
  const tensors = new Map(shards.flatMap((file) => [...readTensors(join(folder, file))]));
  const logits = readTensors(join(folder, "golden.safetensors"));
  const { promptIds, greedyIds, topGaps } = json("golden.json") as Golden;
  return {
    name, promptIds, greedyIds, topGaps,
    config: json("config.json"),
    weights: (tensor) => tensors.get(tensor),
    tensors: [...tensors.keys()],
    promptLogits: rowsOf(logits.get("prompt_logits")),
    stepLogits: rowsOf(logits.get("step_logits")),
    bf16PromptLogits: rowsOf(logits.get("bf16_prompt_logits")),
  };
}

/** Every golden case. */
export const goldens: readonly Golden[] = readdirSync(root, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => readGolden(entry.name));

/** The defaults of transformers' config classes, and what they make of partial configs. */
export const hfDefaults = JSON.parse(readFileSync(join(root, "hf-defaults.json"), "utf8")) as {
  readonly defaults: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly probes: readonly {
    readonly model_type: string;
    readonly given: Readonly<Record<string, unknown>>;
    readonly gives?: Readonly<Record<string, unknown>>;
  }[];
};

/** ‖out − ref‖ / ‖ref‖ over all rows. */
export function relativeError(
  out: readonly ArrayLike<number>[], ref: readonly Float32Array[],
): number {
  let [difference, size] = [0, 0];
  ref.forEach((row, r) => row.forEach((want, i) => {
    difference += ((out[r]?.[i] ?? Number.NaN) - want) ** 2;
    size += want * want;
  }));
  return Math.sqrt(difference / size);
}

/** The largest difference of two rows. */
export function largestError(out: ArrayLike<number>, ref: Float32Array): number {
  const error = (want: number, i: number): number => Math.abs((out[i] ?? Number.NaN) - want);
  return ref.reduce((worst, want, i) => Math.max(worst, error(want, i)), 0);
}
