/**
 * @file The Manifest: all that a host needs to load weights, launch the kernel and read it out.
 * Written beside the emitted source; the field offsets are computed here and nowhere else.
 */

/** C types of kernel parameters; pointers are 64-bit device addresses. */
export type ParamType = "ptr" | "u64" | "f64" | "u32" | "i32" | "f32";

export interface ParamField {
  readonly name: string;
  readonly type: ParamType;
  readonly offset: number;
  /** Array length; 1 for a scalar. */
  readonly count: number;
}

const paramBytes = { ptr: 8, u64: 8, f64: 8, u32: 4, i32: 4, f32: 4 } as const satisfies Record<
  ParamType,
  number
>;

/** Number of EOS ids that a launch can carry. */
export const maxEosIds = 8;

type ParamSpec = readonly (readonly [name: string, type: ParamType, count: number, doc: string])[];

/**
 * `struct Params`, passed by value to the decode kernel. Eight-byte fields come first, so that no
 * padding is needed.
 */
const paramSpec: ParamSpec = [
  ["stream", "ptr", 1, "packed weights"],
  ["resident", "ptr", 1, "gains, biases, embedding tables"],
  ["scratch", "ptr", 1, "activations"],
  ["kv", "ptr", 1, "KV pools of all states"],
  ["pageTable", "ptr", 1, "i32 [pages]: physical page of each logical page"],
  ["events", "ptr", 1, "counters, zero before every launch"],
  ["steps", "ptr", 1, "two step descriptors, zero before every launch"],
  ["prompt", "ptr", 1, "i32 [promptCount] token ids"],
  ["control", "ptr", 1, "host-mapped words, see `ControlWord`"],
  ["tokens", "ptr", 1, "host-mapped i32 [maxNew]: generated ids"],
  ["stamps", "ptr", 1, "u64 [stampCount]: globaltimer at the end of each step, ns; may be 0"],
  ["logitsLog", "ptr", 1, "f32 [logitsSteps, vocab]: last row's logits of each step; may be 0"],
  ["seed", "u64", 1, "Philox key"],
  ["watchdogNanos", "u64", 1, "a wait longer than this ends the kernel with a report"],
  ["topP", "f64", 1, "1: off"],
  ["promptCount", "u32", 1, ""],
  ["promptChunk", "u32", 1, "prompt tokens per step, 1 .. maxTokens"],
  ["startPosition", "u32", 1, "position of the prompt's first token"],
  ["maxNew", "u32", 1, "tokens to generate at most"],
  ["stampCount", "u32", 1, ""],
  ["logitsSteps", "u32", 1, ""],
  ["eosCount", "u32", 1, ""],
  ["eos", "i32", maxEosIds, ""],
  ["topK", "u32", 1, "0: off"],
  ["temperature", "f32", 1, "0: greedy"],
];

/** More of them in a kernel that profiles itself, behind the others. */
const profileSpec: ParamSpec = [
  ["profile", "ptr", 1, "u32 [profileSteps, SMs, records, words]: marks, zero before the launch"],
  ["profileFull", "ptr", 1, "u32 [SMs, profileFullCount, 2]: when the ring was full; zero before"],
  ["profileFirst", "u32", 1, "the first step whose times are kept"],
  ["profileSteps", "u32", 1, "0: none"],
  ["profileFullCount", "u32", 1, ""],
];

/** Lays the parameters out as a C compiler does. */
function layoutParams(spec: ParamSpec): { fields: readonly ParamField[]; bytes: number } {
  let offset = 0;
  const fields = spec.map(([name, type, count]): ParamField => {
    const size = paramBytes[type];
    offset = Math.ceil(offset / size) * size;
    const field = { name, type, offset, count };
    offset += size * count;
    return field;
  });
  return { fields, bytes: Math.ceil(offset / 8) * 8 };
}

export const kernelParams = layoutParams(paramSpec);
/** Those of a kernel that profiles itself. */
export const profiledParams = layoutParams([...paramSpec, ...profileSpec]);

const cTypes = {
  ptr: "u8*",
  u64: "u64",
  f64: "double",
  u32: "u32",
  i32: "i32",
  f32: "float",
} as const satisfies Record<ParamType, string>;

/** The same struct as C text. */
export function paramsAsC(profile = false): string {
  const lines = [...paramSpec, ...(profile ? profileSpec : [])].map(([name, type, count, doc]) => {
    const array = count > 1 ? `[${count}]` : "";
    const comment = doc === "" ? "" : `  // ${doc}`;
    return `  ${cTypes[type]} ${name}${array};${comment}`;
  });
  return `struct Params {\n${lines.join("\n")}\n};`;
}

/**
 * Words of the host-mapped control block (u32 each, 64 in all). The host writes `stop`; the kernel
 * writes the others with system-scope release stores.
 */
export const ControlWord = {
  /** Host to kernel: end after the current step. */
  stop: 0,
  /** Tokens generated so far; `tokens[i]` is valid for i below it. */
  produced: 1,
  /** 0 running; then a `Status`. */
  status: 2,
  /** Steps done. */
  steps: 3,
  /** Watchdog report, valid when status is `watchdog`. */
  reportKind: 8,
  reportSm: 9,
  /** Position in that SM's task order. */
  reportInstruction: 10,
  /** Op index in the program. */
  reportOp: 11,
  reportEvent: 12,
  reportExpected: 13,
  reportSeen: 14,
  reportStep: 15,
} as const;

export const controlWords = 64;

/** How the kernel ended. */
export const Status = {
  running: 0,
  maxNew: 1,
  eos: 2,
  stopped: 3,
  contextFull: 4,
  watchdog: 5,
  badToken: 6,
} as const;

/** What a reported wait was for. */
export const ReportKind = {
  event: 1,
  stream: 2,
  /** Words of a flagged value: the event is the op's input, 1 of expected and 0 seen a word. */
  flag: 3,
} as const;

/**
 * How long a wait inside the kernel may take unless told otherwise. The longest of a healthy one is for
 * an SM that attends to a whole context for every token of a step: about 3 µs a key and token.
 */
export const watchdogNanosOf = ({ maxTokens, maxContext }: Manifest["limits"]): bigint =>
  1_200_000_000n + 10_000n * BigInt(maxTokens) * BigInt(maxContext);

/** A step may hold many waits, each as long as the watchdog allows. */
const waitsOfAStep = 30;
const leastLostMillis = 5000;

/**
 * Milliseconds without a new step after which a kernel that has begun is lost: its own watchdog ought to
 * have ended it long before.
 */
export function lostMillisOf(limits: Manifest["limits"], watchdogNanos: bigint): number {
  const short = watchdogNanosOf({ ...limits, maxTokens: 0 });
  const perStep = Number(watchdogNanosOf(limits) - short) / 1e6 * waitsOfAStep;
  return Math.max(leastLostMillis + perStep, 2 * Number(watchdogNanos) / 1e6 + 2000);
}

/** Bytes of one step descriptor: tokens, position, stop, output count, then ids. */
export function stepBytes(maxTokens: number): number {
  return Math.ceil((16 + 4 * maxTokens) / 64) * 64;
}

/** A tensor of the checkpoint: bf16 [rows, columns] (rows = 1 dim tensors: [rows]). */
export interface TensorPart {
  readonly tensor: string;
  readonly rows: number;
  readonly columns: number;
}

/**
 * One streamed op. The pack kernel `entries.pack` reads each group's weight as one contiguous bf16
 * [n, k] matrix (its parts one below the other) and writes the chunks of every listed task.
 */
export interface PackEntry {
  readonly op: number;
  readonly groups: readonly { readonly parts: readonly TensorPart[] }[];
  readonly n: number;
  readonly k: number;
  readonly blocksPerChunk: number;
  readonly chunksPerTile: number;
  readonly chunksPerSlice: number;
  readonly tilesPerGroup: number;
  readonly folds: number;
  /** Tasks as flat quadruples: offset in the packed image / 128, tileLo, tileHi, 0. */
  readonly tasks: readonly number[];
}

/** A weight that is read as it is: parts one below the other, at `offsetBytes` of the arena. */
export interface ResidentEntry {
  readonly value: string;
  readonly offsetBytes: number;
  readonly bytes: number;
  readonly parts: readonly TensorPart[];
}

/** Where flagged values have their copies. */
export interface FlagMemory {
  /** The part of the scratch arena to fill with 0xff bytes before every launch. */
  readonly offsetBytes: number;
  readonly bytes: number;
  /** For reports: which inputs of which ops are polled. */
  readonly inputs: readonly {
    readonly op: number;
    readonly input: number;
    readonly value: string;
  }[];
}

/** JSON beside the emitted source: all that a host needs to pack weights, launch, read tokens. */
export interface Manifest {
  readonly format: "mpk-manifest";
  readonly version: 1;
  readonly model: string;
  readonly target: string;
  readonly entries: { readonly decode: string; readonly pack: string };
  readonly launch: {
    readonly blocks: number;
    readonly threads: number;
    readonly sharedBytes: number;
    /** Threads of a block of the pack kernel; its grid is one block per task of an entry. */
    readonly packThreads: number;
  };
  readonly params: { readonly bytes: number; readonly fields: readonly ParamField[] };
  readonly memory: {
    readonly streamBytes: number;
    readonly residentBytes: number;
    readonly scratchBytes: number;
    readonly kvBytes: number;
    readonly eventBytes: number;
    readonly stepBytes: number;
    readonly pages: number;
    /** Only with flagged values. */
    readonly flags?: FlagMemory;
  };
  readonly limits: {
    readonly maxTokens: number;
    readonly maxContext: number;
    readonly vocab: number;
  };
  readonly pack: readonly PackEntry[];
  readonly resident: readonly ResidentEntry[];
  /** For reports: every op of the program. */
  readonly ops: readonly { readonly kind: string; readonly scope: string; readonly site: string }[];
  /** Streamed bytes per step, all SMs. */
  readonly streamedBytesPerStep: number;
  /** Only of a kernel that profiles itself. */
  readonly profile?: ProfileLayout;
}

/**
 * Words of a profile's record of an instruction, which is record 1 + its place in its SM's list: low
 * words of the SM's clock, 0 where there is none, but `stalled`, which is a sum of clocks.
 */
export const ProfileMark = {
  /** The instruction begins. */
  start: 0,
  /** All it depends on is there. */
  ready: 1,
  /** Its activations lie in shared memory, normed, if they do at once. */
  placed: 2,
  /** Its first chunk is asked for: what is done once before has been done. */
  asked: 3,
  /** Its first chunk is there; 0 if it was when it was asked for. */
  data: 4,
  /** All warps have used their last chunks. */
  consumed: 5,
  /** The first thread has stored its outputs. */
  stored: 6,
  /** Its signals are out; 0 if it hands over words and has no signals. */
  end: 7,
  /** How long the first consumer warp waited for chunks after the first. */
  stalled: 8,
} as const;

/**
 * Words of record 0, the step's own: low words of the SM's clock, and beside two of them the clock of
 * all SMs (%globaltimer, nanoseconds) in two words, the low one first.
 */
export const StepMark = {
  /** The SM is ready for the step. */
  arrived: 0,
  /** The step's gate is open. */
  opened: 1,
  /** Its last instruction has ended. */
  done: 2,
  arrivedNanos: 3,
  doneNanos: 5,
} as const;

/** u32 words of a record. */
export const profileWords = 9;

/** Shorter waits for a free stage are not kept. */
export const profileShortestClocks = 100;

/** What a profile's records are of. */
export interface ProfileLayout {
  /** Records of an SM and step: one more than the most instructions of an SM. */
  readonly records: number;
  /** Per SM, its instructions: op, tileLo, tileHi and streamed bytes of each in turn. */
  readonly tasks: readonly (readonly number[])[];
}

/**
 * Parameters of the pack kernel, in order: dst (u8*, the packed image), tasks (u32*, quadruples as
 * in `PackEntry.tasks`), src0 .. src7 (u16* per group, unused ones 0), groups, n, k,
 * blocksPerChunk, chunksPerTile, chunksPerSlice, tilesPerGroup, folds (u32 each).
 */
export const packParams = [
  "dst", "tasks", "src0", "src1", "src2", "src3", "src4", "src5", "src6", "src7",
  "groups", "n", "k", "blocksPerChunk", "chunksPerTile", "chunksPerSlice", "tilesPerGroup", "folds",
] as const;

/** Kernels for measuring, emitted apart from any model. */
export interface Tools {
  readonly source: string;
  readonly target: string;
  readonly entries: { readonly random: string; readonly probe: string };
  /** A block of the probe is one warp. */
  readonly probe: {
    readonly chunkBytes: number;
    readonly sharedBytes: number;
    readonly threads: number;
  };
}
