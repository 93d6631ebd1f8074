/**
 * @file Machine code of sm_90a: which arrivals at mbarriers have loads from shared memory before them that nothing
 * has waited for. An arrival overtakes such loads; see "Checked with" in docs/adr/0003-the-kernel.md.
 *
 * An instruction has 128 bits. Bits 105 on say what the hardware has to watch: which of six scoreboards the
 * instruction counts on until its result is there, and which must be at zero before it is issued.
 */
import { readFileSync } from "node:fs";

/** The bytes of a section of an ELF file. @throws where there is none of that name. */
function section(elf: Buffer, wanted: string): Buffer {
  const [headers, size] = [Number(elf.readBigUInt64LE(0x28)), elf.readUInt16LE(0x3a)];
  const at = (index: number): number => headers + index * size;
  const bytes = (index: number): Buffer => {
    const start = Number(elf.readBigUInt64LE(at(index) + 0x18));
    return elf.subarray(start, start + Number(elf.readBigUInt64LE(at(index) + 0x20)));
  };
  const names = bytes(elf.readUInt16LE(0x3e));
  for (let i = 0; i < elf.readUInt16LE(0x3c); i++) {
    const start = elf.readUInt32LE(at(i));
    if (names.toString("utf8", start, names.indexOf(0, start)) === wanted) return bytes(i);
  }
  throw new Error(`no section ${wanted}`);
}

/** Bits 0 to 11, where what decides about predicates is left out. */
const Code = {
  branch: 0x947, indirect: 0x949, exit: 0x94d, ret: 0x950, loadShared: 0x984, arrive: 0x9a7,
} as const;

interface Instruction {
  readonly code: number;
  /** Always done, whatever predicates hold. */
  readonly always: boolean;
  /** Of a branch, in instructions from the next one. */
  readonly offset: number;
  /** The scoreboard that it counts on, 7: none. */
  readonly counts: number;
  /** A bit each. */
  readonly waits: number;
}

function decode(low: bigint, high: bigint): Instruction {
  const code = Number(low & 0xfffn);
  const control = Number(high >> 41n & 0x1fffffn);
  // A branch without conditions of its own has all predicates true and no other form.
  const plain = code !== Code.branch || (high >> 18n & 0xffffn) === 0xe0n;
  const quarter = BigInt.asIntN(56, (BigInt.asUintN(48, (low >> 34n) | high << 30n) << 8n) | (low >> 16n & 0xffn));
  return {
    code, always: (low >> 12n & 0xfn) === 7n && plain, offset: Number(BigInt.asIntN(40, quarter)) / 4,
    counts: control >> 5 & 7, waits: control >> 11 & 0x3f,
  };
}

/** Where control may go from each instruction. */
function successorsOf(program: readonly Instruction[]): readonly (readonly number[])[] {
  const isEnd = ({ code, always }: Instruction): boolean =>
    code === Code.indirect || (always && [Code.branch, Code.exit, Code.ret].some((end) => end === code));
  // What only tables of jumps lead to is behind an end.
  const behindEnds = program.flatMap((each, i) => (isEnd(each) && i + 1 < program.length ? [i + 1] : []));
  return program.map((each, i) => {
    const next = isEnd(each) || i + 1 === program.length ? [] : [i + 1];
    if (each.code === Code.indirect) return behindEnds;
    return each.code === Code.branch ? [...next, i + 1 + each.offset] : next;
  });
}

export interface Arrivals {
  readonly all: number;
  /** Byte offsets of those that come before a load has arrived. */
  readonly early: readonly number[];
}

/** Reads a kernel's code out of a cubin. */
export function arrivalsOf(cubin: string, kernel: string): Arrivals {
  const code = section(readFileSync(cubin), `.text.${kernel}`);
  const program = Array.from({ length: code.length / 16 }, (_, i) =>
    decode(code.readBigUInt64LE(16 * i), code.readBigUInt64LE(16 * i + 8)));
  const successors = successorsOf(program);
  // Scoreboards on which loads may be pending before each instruction; -1: it is not reached.
  const pending = new Int8Array(program.length).fill(-1);
  pending[0] = 0;
  const work = [0];
  const before = (i: number): number => (pending[i] as number) & ~(program[i] as Instruction).waits;
  for (let i = work.pop(); i !== undefined; i = work.pop()) {
    const { code: what, counts } = program[i] as Instruction;
    const after = before(i) | (what === Code.loadShared && counts !== 7 ? 1 << counts : 0);
    for (const next of successors[i] ?? []) {
      const known = pending[next] as number;
      const joined = known < 0 ? after : known | after;
      if (joined === known) continue;
      pending[next] = joined;
      work.push(next);
    }
  }
  const arrivals = program.flatMap(({ code: what }, i) => (what === Code.arrive ? [i] : []));
  if (arrivals.some((i) => (pending[i] as number) < 0)) throw new Error("an arrival that nothing leads to");
  return { all: arrivals.length, early: arrivals.filter((i) => before(i) !== 0).map((i) => 16 * i) };
}
