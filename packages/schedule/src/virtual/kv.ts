/** @file KV states in pages, found through a page table as on the GPU. */
import { toBf16 } from "@mpk/ir";
import type { KvState, Precision, State } from "@mpk/ir";
import type { Plan } from "../plan.ts";
import { VirtualGpuError } from "./errors.ts";
import type { Random } from "./random.ts";

export interface KvPool {
  /** By value id. */
  readonly states: ReadonlyMap<number, KvState>;
}

/** Pages lie in a random order, as they would after other sequences came and went. */
export function createKvPool(plan: Plan, precision: Precision, random: Random): KvPool {
  const table = Int32Array.from({ length: plan.pages }, (_, page) => page);
  for (let i = table.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [table[i], table[j]] = [table[j] ?? 0, table[i] ?? 0];
  }
  const entries = plan.program.states.map((state): [number, KvState] => [
    state.value, pagedState(plan, state, precision, table),
  ]);
  return { states: new Map(entries) };
}

function pagedState(plan: Plan, state: State, precision: Precision, table: Int32Array): KvState {
  const width = state.kvHeads * state.headDim;
  const { pageTokens } = plan;
  const pages = { k: new Map<number, Float32Array>(), v: new Map<number, Float32Array>() };
  const row = (half: "k" | "v", position: number): Float32Array => {
    const page = table[Math.floor(position / pageTokens)];
    if (page === undefined || position < 0) {
      throw new VirtualGpuError(`KV position ${position} is beyond the ${plan.pages} pages`);
    }
    let bytes = pages[half].get(page);
    if (bytes === undefined) {
      // Never written rows must show: NaN.
      bytes = new Float32Array(pageTokens * width).fill(NaN);
      pages[half].set(page, bytes);
    }
    const at = (position % pageTokens) * width;
    return bytes.subarray(at, at + width);
  };
  const store = (half: "k" | "v", position: number, from: Float32Array, lo: number): void => {
    const stored = precision === "bf16" ? from.map(toBf16) : from;
    row(half, position).set(stored, lo);
  };
  return {
    kvHeads: state.kvHeads,
    headDim: state.headDim,
    write(position, k, v, lo = 0) {
      store("k", position, k, lo);
      store("v", position, v, lo);
    },
    k: (position) => row("k", position),
    v: (position) => row("v", position),
  };
}
