/** @file Runs an op's reference and its tasks on plain buffers, each access checked. */
import { bindShape, createKvState, elementCount, roundToBf16, tensorOf, toBf16Bits } from "@mpk/ir";
import type { EvalContext, KvState, Precision, Tensor, TensorType } from "@mpk/ir";
import { packStream } from "@mpk/schedule";
import type {
  OpInstance,
  OpSchedule,
  PackingBudget,
  StreamLayout,
  TaskContext,
} from "@mpk/schedule";
import type { Case } from "./cases.ts";

/** Pseudo-random numbers in [0, 1): mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A case made concrete. */
export interface Bench {
  readonly op: OpInstance<never>;
  readonly schedule: OpSchedule<never>;
  readonly inputs: readonly Tensor[];
  readonly ctx: EvalContext;
  readonly state: KvState | null;
  readonly layout: StreamLayout | null;
  readonly random: () => number;
}

function dataFor(type: TensorType, own: Case, random: () => number): Tensor["data"] {
  const count = elementCount(bindShape(type.shape, own.tokens));
  if (type.dtype === "i32") {
    return Int32Array.from({ length: count }, () => Math.floor(random() * own.vocabulary));
  }
  const floats = Float32Array.from({ length: count }, () => random() * 2 - 1);
  return type.dtype === "bf16" ? roundToBf16(floats) : floats;
}

function stateFor(own: Case, precision: Precision): KvState | null {
  if (own.kv === null) return null;
  const state = createKvState(own.kv, precision);
  const random = randomFrom(own.seed + 1);
  const width = own.kv.kvHeads * own.kv.headDim;
  const row = (): Float32Array => Float32Array.from({ length: width }, () => random() * 2 - 1);
  for (let position = 0; position < own.past; position++) state.write(position, row(), row());
  return state;
}

/** Room for at least one K block of four folds and one tile, and often little more. */
const budgetFor = (maxTokens: number, random: () => number): PackingBudget => ({
  activationBytes: maxTokens * (320 + Math.floor(random() * 1000)),
  partialBytes: 4 * 16 * maxTokens * 4 * (1 + Math.floor(random() * 3)),
  chunkBytes: 8192,
  consumerWarps: 4,
  stages: 8,
});

/** Builds data, state and layout of a case; the same case gives the same bench. */
export function benchOf(schedule: OpSchedule<never>, own: Case, precision: Precision): Bench {
  const random = randomFrom(own.seed);
  const attrs = schedule.semantics.parseAttrs(own.attrs);
  const { name } = schedule.semantics;
  const outputs = schedule.semantics.infer(attrs, own.inputs);
  const { maxTokens, tokens } = own;
  const folds = [1, 2, 4][Math.floor(random() * 3)] ?? 1;
  const op = { kind: name, attrs, inputs: own.inputs, outputs, maxTokens, folds };
  const positions = Int32Array.from({ length: tokens }, (_, i) => own.past + i);
  const inputs = own.inputs.map((type, i) => {
    // Positions are the last input of rope and follow v in attention.
    const isPositions = type.dtype === "i32" && i > 0;
    return tensorOf(type, tokens, isPositions ? positions : dataFor(type, own, random));
  });
  const state = stateFor(own, precision);
  const ctx: EvalContext = {
    precision,
    tokens,
    inputs: { ids: new Int32Array(tokens), positions },
    sampling: { temperature: random() < 0.3 ? 0 : random(), topK: 3, topP: 0.9, seed: 7n },
    state() {
      if (state === null) throw new Error(`${name} has no state`);
      return state;
    },
  };
  const layout = schedule.packing.stream(op, budgetFor(maxTokens, random));
  return { op, schedule, inputs, ctx, state, layout, random };
}

/** The reference result. Changes the bench's state. */
export function reference({ op, schedule, inputs, ctx, state }: Bench): readonly Tensor[] {
  return schedule.semantics.evaluate(op.attrs, inputs, ctx, state === null ? [] : [0]);
}

/** Concrete rows and columns, by the contract's rule for regions. */
export function matrix(type: TensorType, tokens: number): { rows: number; columns: number } {
  const shape = bindShape(type.shape, tokens);
  if (shape.length === 1) {
    return type.shape[0] === "T" ? { rows: tokens, columns: 1 } : { rows: 1, columns: shape[0]! };
  }
  return { rows: shape[0]!, columns: elementCount(shape.slice(1)) };
}

function columnsOf(tensor: Tensor, tokens: number, lo: number, hi: number): Tensor["data"] {
  const { rows, columns } = matrix(tensor.type, tokens);
  if (lo < 0 || hi > columns || lo >= hi) throw new Error(`columns ${lo} to ${hi} of ${columns}`);
  const out = tensor.data.slice(0, rows * (hi - lo));
  for (let row = 0; row < rows; row++) {
    out.set(tensor.data.subarray(row * columns + lo, row * columns + hi), row * (hi - lo));
  }
  return out;
}

/** A state that a task may touch only as its regions say; what it may not see is NaN. */
function guardedState(state: KvState, bench: Bench, lo: number, hi: number): KvState {
  const { states } = bench.schedule.tiling.regions(bench.op, lo, hi);
  const start = bench.ctx.inputs.positions[0]!;
  const allows = (access: string, rows: string, column: number): boolean =>
    states.some(
      (own) =>
        own.access === access && own.rows === rows && column >= own.lo && column < own.hi,
    );
  const seen = (position: number, row: Float32Array): Float32Array => {
    if (position >= start) throw new Error(`reads position ${position} of this step`);
    return row.map((value, column) => (allows("read", "past", column) ? value : Number.NaN));
  };
  return {
    kvHeads: state.kvHeads,
    headDim: state.headDim,
    k: (position) => seen(position, state.k(position)),
    v: (position) => seen(position, state.v(position)),
    write(position, k, v, at = 0) {
      if (position < start) throw new Error(`writes position ${position} before this step`);
      k.forEach((_, i) => {
        if (!allows("write", "append", at + i)) throw new Error(`writes state column ${at + i}`);
      });
      state.write(position, k, v, at);
    },
  };
}

function chunksFor(bench: Bench, lo: number, hi: number): Uint8Array[] {
  const { layout, inputs } = bench;
  if (layout === null) return [];
  const weights = layout.weights.map((at) => toBf16Bits(inputs[at]!.data as Float32Array));
  const bytes = packStream(layout, weights, lo, hi);
  const size = layout.blocksPerChunk * 1024;
  return Array.from({ length: bytes.length / size }, (_, i) => {
    return bytes.subarray(i * size, (i + 1) * size);
  });
}

interface BenchContext extends TaskContext {
  /** Chunks not taken yet. */
  left(): number;
}

/** A task's context: every read and write must lie in its regions. */
function contextOf(bench: Bench, out: Tensor["data"], lo: number, hi: number): BenchContext {
  const { op, schedule, inputs, ctx, state } = bench;
  const regions = schedule.tiling.regions(op, lo, hi);
  const resident = schedule.packing.resident(op);
  const chunks = chunksFor(bench, lo, hi);
  const within = (list: typeof regions.reads, index: number, a: number, b: number): boolean =>
    list.some((own) => own.index === index && own.lo <= a && b <= own.hi);
  return {
    tileLo: lo,
    tileHi: hi,
    states: state === null ? [] : [0],
    eval: { ...ctx, state: () => guardedState(ctx.state(0), bench, lo, hi) },
    read(input, a, b) {
      if (!resident.includes(input) && !within(regions.reads, input, a, b)) {
        throw new Error(`reads columns ${a} to ${b} of input ${input}, not in its regions`);
      }
      return columnsOf(inputs[input]!, ctx.tokens, a, b);
    },
    readRow(input, row, a, b) {
      if (!resident.includes(input)) throw new Error(`input ${input} is not resident`);
      const columns = Number(op.inputs[input]!.shape[1]);
      return (inputs[input]!.data as Float32Array).slice(row * columns + a, row * columns + b);
    },
    write(output, a, b, data) {
      if (!within(regions.writes, output, a, b)) throw new Error(`writes columns ${a} to ${b}`);
      const { rows, columns } = matrix(op.outputs[0]!, ctx.tokens);
      if (data.length !== rows * (b - a)) throw new Error(`writes ${data.length} numbers`);
      if (data.constructor !== out.constructor) throw new Error("writes the wrong kind of numbers");
      for (let row = 0; row < rows; row++) {
        out.set(data.subarray(row * (b - a), (row + 1) * (b - a)), row * columns + a);
      }
    },
    nextChunk() {
      const chunk = chunks.shift();
      if (chunk === undefined) throw new Error("takes more chunks than its tiles have");
      return chunk;
    },
    left: () => chunks.length,
  };
}

/** The result of all tiles, as random tasks in a random interleaving. Changes the state. */
export function scheduled(bench: Bench): Tensor["data"] {
  const { op, schedule, ctx, random } = bench;
  const type = op.outputs[0]!;
  const count = elementCount(bindShape(type.shape, ctx.tokens));
  const unset = new Float32Array(count).fill(Number.NaN);
  const out = type.dtype === "i32" ? new Int32Array(count).fill(-1) : unset;
  const tiles = schedule.tiling.tiles(op);
  const running: { context: BenchContext; body: Generator<void, void, void> }[] = [];
  const single = schedule.tiling.placement === "single";
  for (let lo = 0; lo < tiles; ) {
    const hi = single ? tiles : Math.min(tiles, lo + 1 + Math.floor(random() * 4));
    const context = contextOf(bench, out, lo, hi);
    running.push({ context, body: schedule.task(op, bench.layout, context) });
    lo = hi;
  }
  while (running.length > 0) {
    const at = Math.floor(random() * running.length);
    const { context, body } = running[at]!;
    if (!body.next().done) continue;
    if (context.left() > 0) throw new Error(`leaves ${context.left()} chunks of its stream`);
    running.splice(at, 1);
  }
  return out;
}
