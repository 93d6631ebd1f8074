/** @file Plan in, one `.cu` and its Manifest out. Deterministic to the byte. */
import { readFileSync } from "node:fs";
import { fewTokens } from "@mpk/ir";
import { holdsStream, type Plan, type ScheduleTable, sharedReserveBytes, takesTurns } from "@mpk/schedule";
import { type Bodies, renderBodies } from "./bodies.ts";
import type { BodyTable } from "./body.ts";
import { encodeSm, idsOf, manyOnlyBit, operandWords, signalsAlone, waitsAlone } from "./encode.ts";
import { type Run, roll, Word } from "./instructions.ts";
import {
  ControlWord,
  type FlagMemory,
  kernelParams,
  type Manifest,
  paramsAsC,
  profiledParams,
  ReportKind,
  Status,
  stepBytes,
} from "./manifest.ts";
import { layoutMemory, type MemoryLayout } from "./memory.ts";
import { columnsOf, locate } from "./operands.ts";
import { profileConstants, profileLayout } from "./profile.ts";
import { findTarget, type Target, type Warps, warpsOf } from "./targets.ts";
import { render } from "./templates.ts";

/** Of `emit`. */
export interface EmitOptions {
  /** For example `sm_90a`; see `targets`. */
  readonly target: string;
  /** The kernel keeps the times of its instructions; see `ProfileMark`. Default: it does not. */
  readonly profile?: boolean;
}

/** The kernel's source, and all that a host must know of it. */
export interface Emitted {
  readonly source: string;
  readonly manifest: Manifest;
}

/** Bytes between two event counters: one L2 sector pair each, so that pollers do not collide. */
const eventStride = 128;
/** Page-table entries kept in shared memory; later ones are read from L2. */
const sharedPages = 64;
const deviceFiles = [
  "machine", "core", "ring", "folds", "values", "linear", "few_rows", "few_products",
  "linear_of_few", "few_shared", "slices", "wide_ends", "few_tiles", "linear_wide", "heads", "columns",
  "attention", "query_warp", "queries", "tiles", "attention_of_one", "attention_of_few", "rows", "squares",
  "candidates", "shortlist", "sampling", "choose", "decode", "pack",
] as const;
/** Those that plans with flagged values have besides. */
const flagFiles = ["flags", "linear_of_one"] as const;
/** For programs that split their attention alone. */
const splitFiles = ["units", "past", "joins", "parts", "merge"] as const;

/** Parts of the kernel that only some plans or options have. */
export interface KernelParts {
  readonly profile: boolean;
  readonly flags: boolean;
  /** Cached keys and values come through the ring. */
  readonly past?: boolean;
  /** Weights give way to keys and values: see `holdsStream`. */
  readonly hold?: boolean;
  /** Steps may have several tokens, but no more than a few. */
  readonly few?: boolean;
  /** Steps may have more tokens than a few. */
  readonly many?: boolean;
}

const markedLine = /^( *)\/\/(profile|flags|past|hold|few|many): (.*\n)/gm;

/** A device file's text. Lines marked `//profile:` are code with `profile`, else left out, and so on. */
export function deviceText(
  name: string,
  parts: KernelParts = { profile: false, flags: false },
): string {
  const text = readFileSync(new URL(`./device/${name}`, import.meta.url), "utf8");
  const shown = (from: string): string =>
    from.replaceAll(markedLine, (_, indent, part, line) =>
      parts[part as keyof KernelParts] ? `${indent}${line}` : "",
    );
  // A line may be marked twice.
  return shown(shown(text));
}

function capitalized(prefix: string, entries: { readonly [key: string]: number }) {
  return Object.entries(entries).map(([key, value]) => ({
    name: prefix + key.charAt(0).toUpperCase() + key.slice(1),
    value,
  }));
}

/** A C initializer, wrapped. Empty tables get one zero: C++ has no empty arrays. */
function initializer(numbers: ArrayLike<number>): string {
  const items = numbers.length === 0 ? [0] : Array.from(numbers);
  const lines: string[] = [];
  for (let i = 0; i < items.length; i += 16) {
    lines.push(`  ${items.slice(i, i + 16).map((n) => `${n}u`).join(", ")}`);
  }
  return `{\n${lines.join(",\n")}\n}`;
}

/** The op that chooses tokens and opens the next step, and the event its one task signals. */
function stepEvent(plan: Plan, table: ScheduleTable): { vocab: number; event: number } {
  const chosen = plan.program.ops.findIndex((op) => table.get(op.kind)?.semantics.traits.effect);
  const op = plan.program.ops[chosen];
  const logits = op && plan.program.values[op.inputs[0] ?? -1];
  if (!op || !logits) {
    throw new RangeError(`program ${plan.program.name} chooses no token; end it with sample()`);
  }
  const task = plan.tasks.op.indexOf(chosen);
  const event = Array.from(idsOf(plan.signals, task)).find((e) => plan.events.crossStep[e] === 1);
  if (event === undefined) {
    throw new RangeError(`${op.kind} at ${op.scope} signals no event that opens the next step`);
  }
  return { vocab: columnsOf(logits.type), event };
}

/** Every id that `sample` may choose must have a row in each table that ids look up. */
function checkTables(plan: Plan, vocab: number): void {
  const { ops, values } = plan.program;
  for (const op of ops) {
    const [index, table] = op.inputs.map((id) => values[id]);
    if (op.kind !== "embedding" || index?.origin.kind !== "input" || index.origin.input !== "ids") {
      continue;
    }
    const rows = table?.type.shape[0];
    if (typeof rows === "number" && rows < vocab) {
      throw new RangeError(
        `${table?.name} has ${rows} rows, but ${vocab} token ids can be chosen: it needs as many`,
      );
    }
  }
}

function constants(
  plan: Plan, vocab: number, event: number, lists: Lists, profile: boolean, warps: Warps,
) {
  const { ring, program } = plan;
  const work = ring.activationBytes + 2 * ring.partialBytes;
  return [
    { name: "kMaxTokens", value: program.limits.maxTokens },
    { name: "kMaxContext", value: program.limits.maxContext },
    { name: "kVocab", value: vocab },
    { name: "kStages", value: ring.stages },
    { name: "kStageBytes", value: ring.stageBytes },
    { name: "kMaxInFlight", value: ring.maxInFlight },
    { name: "kConsumerWarps", value: ring.consumerWarps },
    { name: "kConsumerThreads", value: ring.consumerWarps * 32 },
    { name: "kThreads", value: warps.threads },
    { name: "kConsumerRegisters", value: warps.consumerRegisters },
    { name: "kProducerRegisters", value: warps.producerRegisters },
    { name: "kActivationBytes", value: ring.activationBytes },
    { name: "kPartialBytes", value: ring.partialBytes },
    { name: "kWorkBytes", value: work },
    { name: "kSharedReserve", value: sharedReserveBytes },
    { name: "kSharedPages", value: sharedPages },
    { name: "kPages", value: plan.pages },
    { name: "kPageTokens", value: plan.pageTokens },
    { name: "kEventStride", value: eventStride },
    { name: "kStepEvent", value: event },
    { name: "kInstructionWords", value: lists.mostWords },
    { name: "kPlaceBits", value: 32 - Math.clz32(lists.mostInstructions) },
    ...capitalized("kWord", Word),
    ...capitalized("kControl", ControlWord),
    ...capitalized("kStatus", Status),
    ...capitalized("kReport", { event: ReportKind.event, stream: ReportKind.stream }),
    ...(profile ? profileConstants(plan) : []),
    ...(plan.flags.value.length > 0 ? flagConstants(plan) : []),
  ];
}

/** What only plans with flagged values need. */
function flagConstants({ flags }: Plan) {
  if (flags.copyBytes >= 2 ** 31) {
    throw new RangeError(`a copy of the flagged values has ${flags.copyBytes} bytes: too many`);
  }
  return [
    { name: "kManyOnly", value: manyOnlyBit },
    { name: "kFlagCopyBytes", value: flags.copyBytes },
    { name: "kReportFlag", value: ReportKind.flag },
  ];
}

function flagMemory(plan: Plan): FlagMemory {
  const { flags, program } = plan;
  const inputs = program.ops.flatMap((op, index) => {
    if (!plan.tasks.op.includes(index)) return [];
    return op.inputs.flatMap((id, input) => {
      const { base } = locate(plan, id);
      return flags.value.includes(base.id) ? [{ op: index, input, value: base.name }] : [];
    });
  });
  return { offsetBytes: flags.startBytes, bytes: 2 * flags.copyBytes, inputs };
}

/** The rolled instruction lists of all SMs, and the largest numbers that they have. */
interface Lists {
  readonly runStart: readonly number[];
  readonly runs: readonly number[];
  readonly words: readonly number[];
  readonly deltas: readonly number[];
  /** Words of an instruction. */
  readonly mostWords: number;
  /** Instructions of an SM's list. */
  readonly mostInstructions: number;
  /** By body: whether an instruction waits for events, or signals some, in steps of one token. */
  readonly waits: readonly boolean[];
  readonly signals: readonly boolean[];
}

function instructionLists(plan: Plan, bodies: Bodies, memory: MemoryLayout): Lists {
  const operands = plan.program.ops.map((_, i) => operandWords(plan, i, memory));
  const runStart = [0];
  const runs: number[] = [];
  const words: number[] = [];
  const deltas: number[] = [];
  let mostWords = 0;
  let mostInstructions = 0;
  const waits = bodies.bodies.map(() => false);
  const signals = bodies.bodies.map(() => false);
  for (let sm = 0; sm < plan.machine.sms; sm++) {
    const list = encodeSm(plan, sm, bodies.bodyOf, operands);
    for (const words of list) {
      mostWords = Math.max(mostWords, words.length);
      const body = words[Word.body] ?? -1;
      if (waitsAlone(words)) waits[body] = true;
      if (signalsAlone(words)) signals[body] = true;
    }
    mostInstructions = Math.max(mostInstructions, list.length);
    for (const run of roll(list)) pushRun(run, runs, words, deltas);
    runStart.push(runs.length / 3);
  }
  return { runStart, runs, words, deltas, mostWords, mostInstructions, waits, signals };
}

function pushRun(run: Run, runs: number[], words: number[], deltas: number[]): void {
  runs.push(words.length, run.words.length, run.repeats);
  for (const word of run.words) words.push(word);
  for (const delta of run.deltas) deltas.push(delta);
}

/** Limits of the device code, as its shared structures are laid out. */
function checkRing({ consumerWarps, stageBytes }: Plan["ring"]): void {
  if (consumerWarps < 2 || consumerWarps > 16) {
    throw new RangeError(`the kernel takes 2 to 16 consumer warps, the plan has ${consumerWarps}`);
  }
  if (stageBytes % 1024 !== 0) {
    throw new RangeError(`ring stages must be multiples of 1024 bytes, not ${stageBytes}`);
  }
}

function launchOf(plan: Plan, target: Target): Manifest["launch"] {
  const { ring, machine } = plan;
  checkRing(ring);
  const sharedBytes =
    ring.stages * ring.stageBytes +
    ring.activationBytes +
    2 * ring.partialBytes +
    sharedReserveBytes;
  if (sharedBytes > target.sharedBytes) {
    throw new RangeError(
      `the plan for ${machine.name} needs ${sharedBytes} bytes of shared memory, ${target.name} ` +
        `has ${target.sharedBytes}; plan for a machine of that target`,
    );
  }
  return {
    blocks: machine.sms,
    threads: warpsOf(target, ring.consumerWarps).threads,
    sharedBytes,
    packThreads: 256,
  };
}

/**
 * Emits the kernel of a plan. `table` gives op attributes and traits, `bodies` the CUDA of each op.
 * Throws `RangeError` naming the op where the plan cannot be emitted.
 */
export function emit(
  plan: Plan,
  table: ScheduleTable,
  bodyTable: BodyTable,
  options: EmitOptions,
): Emitted {
  const target = findTarget(options.target);
  const isSliced = plan.program.weights.some(({ parts }) => parts.some(({ slice }) => slice));
  if (plan.ranks > 1 || isSliced) {
    throw new RangeError(
      `the plan is for ${plan.ranks} ranks or a rank's slices of weights: such plans can be proven ` +
        `and run on the virtual GPU, but the kernel runs on one GPU; plan the model without shard()`,
    );
  }
  const { vocab, event } = stepEvent(plan, table);
  checkTables(plan, vocab);
  const memory = layoutMemory(plan);
  const bodies = renderBodies(plan, table, bodyTable, vocab);
  const lists = instructionLists(plan, bodies, memory);
  const { profile = false } = options;
  const warps = warpsOf(target, plan.ring.consumerWarps);
  const isWide = bodies.bodies.some(({ run }) => run === "linear_wide");
  const { maxTokens } = plan.program.limits;
  const usesSplit = bodies.bodies.some(({ run }) => /^attention_(part|merge)$/.test(run));
  const parts = {
    profile, flags: plan.flags.value.length > 0, past: usesSplit, hold: holdsStream(plan),
    few: maxTokens > 1 && maxTokens <= fewTokens, many: maxTokens > fewTokens,
  };
  const device = Object.fromEntries(
    [...deviceFiles, ...flagFiles].map((name) => [name, deviceText(`${name}.cuh`, parts).trim()]),
  );
  const launch = launchOf(plan, target);
  const source = render(deviceText("kernel.cu.njk"), {
    ...device,
    split: usesSplit ? splitFiles.map((name) => deviceText(`${name}.cuh`, parts).trim()) : [],
    title: `${plan.program.name.replace(/[^\w.-]/g, "_")} for ${plan.machine.sms} SMs`,
    profile: profile ? deviceText("profile.cuh").trim() : "",
    flagged: parts.flags,
    few: parts.few,
    params: paramsAsC(profile),
    constants: constants(plan, vocab, event, lists, profile, warps),
    streamBase: initializer(memory.streamBase),
    tileChunks: initializer(bodies.bodies.map((b) => b.tileChunks)),
    chunkBytes: initializer(bodies.bodies.map((b) => b.chunkBytes)),
    runStart: initializer(lists.runStart),
    runs: initializer(lists.runs),
    words: initializer(lists.words),
    deltas: initializer(lists.deltas),
    waits: lists.waits,
    signals: lists.signals,
    bodies: bodies.bodies,
    isWide,
    sharesSlices: !isWide && plan.layouts.some((layout) => layout && takesTurns(layout)),
    sumsSquares: bodies.bodies.some(({ run }) => run === "block_squares"),
  });
  const manifest = manifestOf(plan, memory, launch, target, vocab);
  const profiled = { params: profiledParams, profile: profileLayout(plan) };
  return { source, manifest: profile ? { ...manifest, ...profiled } : manifest };
}

function manifestOf(
  plan: Plan,
  memory: MemoryLayout,
  launch: Manifest["launch"],
  target: Target,
  vocab: number,
): Manifest {
  const { program } = plan;
  return {
    format: "mpk-manifest",
    version: 1,
    model: program.name,
    target: target.name,
    entries: { decode: "mpk_decode", pack: "mpk_pack" },
    launch,
    params: kernelParams,
    memory: {
      streamBytes: memory.streamBytes,
      residentBytes: memory.residentBytes,
      scratchBytes: plan.scratchBytes,
      kvBytes: memory.kvBytes,
      eventBytes: (plan.events.count + 1) * eventStride,
      stepBytes: 2 * stepBytes(program.limits.maxTokens),
      pages: plan.pages,
      ...(plan.flags.value.length === 0 ? {} : {
        flags: flagMemory(plan),
      }),
    },
    limits: { ...program.limits, vocab },
    pack: memory.pack,
    resident: memory.residentEntries,
    ops: program.ops.map((op) => ({
      kind: op.kind,
      scope: op.scope,
      site: op.site === null ? "" : `${op.site.file}:${op.site.line}:${op.site.column}`,
    })),
    streamedBytesPerStep: memory.streamBytes,
  };
}
