/** @file The scratch arena as bytes: values are read and written by placement, never by name. */
import { bf16BitsOf, bf16FromBits, dtypeBytes } from "@mpk/ir";
import type { DType, Precision, TensorType } from "@mpk/ir";
import { columnsOf } from "../planner/shapes.ts";
import type { Plan } from "../plan.ts";
import { VirtualGpuError } from "./errors.ts";

export type Numbers = Float32Array | Int32Array;

/** Columns [lo, hi) of the rows [row, row + rows) of a value. */
export interface Block {
  readonly value: number;
  /** The copy of a flagged value that has the row; null: its ordinary place. */
  readonly copy: 0 | 1 | null;
  readonly row: number;
  readonly rows: number;
  readonly lo: number;
  readonly hi: number;
}

export interface Arena {
  /** [rows, hi - lo], row-major. */
  read(block: Block): Numbers;
  /** Into a copy of a flagged value: word by word, and clears the words of the other copy. */
  write(block: Block, data: Numbers): void;
  /** Whether every word of a flagged row is there. */
  isPresent(block: Block): boolean;
  /** Rows of flagged values written so far: nothing new is present while it stays. */
  copyWrites(): number;
  /** Clears both copies of all flagged values, as the host does before a launch. */
  clearCopies(): void;
}

/** A word of a flagged value that has not come yet; a NaN with these bits is written otherwise. */
const absent = -1;
const otherNan = 0x7fffffff;

/** A quiet NaN in float32 and, halved, in bf16; as an integer, no token id. */
const poison = 0x7fc07fc0;

/**
 * At precision "f32" bf16 values keep their float32 bits, so every byte of the plan stands for two
 * here; offsets and overlaps stay those of the plan. Throws `VirtualGpuError` on an address outside
 * of the arena.
 */
export function createArena(plan: Plan, precision: Precision): Arena {
  const scale = precision === "f32" ? 2 : 1;
  const words = new Int32Array(Math.ceil((plan.scratchBytes * scale) / 4)).fill(poison);
  const floats = new Float32Array(words.buffer);
  const halves = new Uint16Array(words.buffer);
  const asHalves = (dtype: DType): boolean => dtype === "bf16" && precision === "bf16";

  const locate = (block: Block): Located => locateIn(plan, block);
  // Index of an element in `words` (or `halves`): one plan byte is `scale` bytes here.
  const step = (dtype: DType): number => (asHalves(dtype) ? 1 : (dtypeBytes[dtype] * scale) / 4);
  /** First and last of the words that a row of a copy takes. */
  const wordsOf = (block: Block): readonly [number, number] => {
    const { first, type } = locate(block);
    const by = asHalves(type.dtype) ? 0.5 : step(type.dtype);
    return [Math.floor((first + block.lo) * by), Math.ceil((first + block.hi) * by)];
  };
  const clearOther = (block: Block): void => {
    const [lo, hi] = wordsOf(block);
    for (let i = lo; i < hi; i++) if (words[i] === absent) words[i] = otherNan;
    words.fill(absent, ...wordsOf({ ...block, copy: block.copy === 0 ? 1 : 0 }));
  };

  let copyWrites = 0;

  return {
    copyWrites: () => copyWrites,
    isPresent(block) {
      const [lo, hi] = wordsOf(block);
      return !words.subarray(lo, hi).includes(absent);
    },
    clearCopies() {
      const { startBytes, copyBytes } = plan.flags;
      const end = startBytes + 2 * copyBytes;
      words.fill(absent, (startBytes * scale) / 4, (end * scale) / 4);
    },
    read(block) {
      const { first, columns, type } = locate(block);
      const width = block.hi - block.lo;
      const by = step(type.dtype);
      const out = new (type.dtype === "i32" ? Int32Array : Float32Array)(block.rows * width);
      const from: ArrayLike<number> = type.dtype === "i32" ? words : floats;
      for (let row = 0; row < block.rows; row++) {
        const at = first + (block.row + row) * columns + block.lo;
        for (let c = 0; c < width; c++) {
          out[row * width + c] = asHalves(type.dtype)
            ? bf16FromBits(halves[at + c] ?? 0)
            : (from[(at + c) * by] ?? 0);
        }
      }
      return out;
    },
    write(block, data) {
      const { first, columns, type } = locate(block);
      const width = block.hi - block.lo;
      if (data.length !== block.rows * width) {
        throw new VirtualGpuError(
          `value ${block.value}: ${data.length} numbers written to ${block.rows} rows of ${width}`,
        );
      }
      const by = step(type.dtype);
      const into = type.dtype === "i32" ? words : floats;
      for (let row = 0; row < block.rows; row++) {
        const at = first + (block.row + row) * columns + block.lo;
        for (let c = 0; c < width; c++) {
          const x = data[row * width + c] ?? 0;
          if (asHalves(type.dtype)) halves[at + c] = bf16BitsOf(x);
          else into[(at + c) * by] = x;
        }
      }
      if (block.copy === null) return;
      clearOther(block);
      copyWrites++;
    },
  };
}

interface Located {
  /** First element of the value, counted in elements of its type. */
  readonly first: number;
  readonly columns: number;
  readonly type: TensorType;
}

function locateIn(plan: Plan, block: Block): Located {
  const place = plan.placements[block.value];
  const value = plan.program.values[block.value];
  if (place?.kind !== "scratch" || value === undefined) {
    throw new VirtualGpuError(`value ${block.value} has no place in the arena`);
  }
  const columns = columnsOf(value.type);
  const stride = dtypeBytes[value.type.dtype];
  const start = block.copy === null ? place.offsetBytes : copyStart(plan, block.value, block.copy);
  const first = start / stride;
  const end = start + ((block.row + block.rows - 1) * columns + block.hi) * stride;
  if (!Number.isInteger(first) || block.lo < 0 || end > plan.scratchBytes) {
    throw new VirtualGpuError(
      `${value.name}: columns ${block.lo}..${block.hi} reach to byte ${end} of an arena of ` +
        `${plan.scratchBytes} bytes, from byte ${start}`,
    );
  }
  return { first, columns, type: value.type };
}

function copyStart({ flags }: Plan, value: number, copy: 0 | 1): number {
  const at = flags.value.indexOf(value);
  if (at < 0) throw new VirtualGpuError(`value ${value} is not flagged`);
  return flags.startBytes + copy * flags.copyBytes + (flags.offsetBytes[at] ?? 0);
}
