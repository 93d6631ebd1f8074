/** @file Packs weights once: a byte image per SM for its stream, and memory for resident ones. */
import { loadWeights } from "@mpk/ir";
import type { Precision, WeightSource } from "@mpk/ir";
import { packStream } from "../packing.ts";
import type { Plan } from "../plan.ts";
import { columnsOf } from "../planner/shapes.ts";
import type { OpNode } from "../planner/nodes.ts";
import { VirtualGpuError } from "./errors.ts";

/** One SM's stream: where each chunk of a step lies in the packed image. */
export interface StreamImage {
  readonly bytes: Uint8Array;
  readonly offset: Float64Array;
  readonly length: Int32Array;
}

export interface Resident {
  readonly data: Float32Array;
  readonly columns: number;
}

export interface PackedWeights {
  /** By SM. */
  readonly streams: readonly StreamImage[];
  /** By op: per input, the resident weight there, if any. */
  readonly resident: readonly (readonly (Resident | undefined)[])[];
}

/**
 * Streamed weights become bf16, which is exact for a bf16 checkpoint at either precision. Throws
 * what `loadWeights` throws for a checkpoint that lacks a tensor.
 */
export function packWeights(
  plan: Plan,
  nodes: readonly OpNode[],
  source: WeightSource,
  precision: Precision,
): PackedWeights {
  const loaded = loadWeights(plan.program, source, precision);
  const dataOf = (op: number, input: number): Float32Array => {
    const value = plan.program.ops[op]?.inputs[input] ?? -1;
    const place = plan.placements[value];
    const tensor = loaded.get(place?.kind === "view" ? place.of : value);
    if (!(tensor?.data instanceof Float32Array)) {
      throw new VirtualGpuError(`op ${op}: input ${input} is no weight of numbers`);
    }
    return tensor.data;
  };
  const resident = nodes.map(({ index, cls, view }) => {
    const list: (Resident | undefined)[] = [];
    if (view) return list;
    for (const input of cls.schedule.packing.resident(cls.instance)) {
      const type = cls.instance.inputs[input];
      if (type === undefined) continue;
      list[input] = { data: dataOf(index, input), columns: columnsOf(type) };
    }
    return list;
  });
  return { streams: plan.streams.map((_, sm) => packSm(plan, sm, dataOf)), resident };
}

function packSm(
  plan: Plan,
  sm: number,
  dataOf: (op: number, input: number) => Float32Array,
): StreamImage {
  const segments = plan.streams[sm] ?? [];
  const ends = segments.map((s) => s.offsetBytes + s.chunks * s.chunkBytes);
  const size = Math.max(0, ...ends);
  // Bytes that nobody packs are NaN in bf16.
  const bytes = new Uint8Array(size).fill(0xff);
  const offset: number[] = [];
  const length: number[] = [];
  for (const segment of segments) {
    const op = plan.tasks.op[segment.task] ?? -1;
    const layout = plan.layouts[op] ?? null;
    if (layout === null) throw new VirtualGpuError(`SM ${sm}: op ${op} streams nothing`);
    const weights = layout.weights.map((input) => dataOf(op, input));
    const [lo, hi] = [plan.tasks.tileLo[segment.task] ?? 0, plan.tasks.tileHi[segment.task] ?? 0];
    const packed = packStream(layout, weights, lo, hi);
    bytes.set(packed.subarray(0, segment.chunks * segment.chunkBytes), segment.offsetBytes);
    for (let chunk = 0; chunk < segment.chunks; chunk++) {
      offset.push(segment.offsetBytes + chunk * segment.chunkBytes);
      length.push(segment.chunkBytes);
    }
  }
  return { bytes, offset: Float64Array.from(offset), length: Int32Array.from(length) };
}
