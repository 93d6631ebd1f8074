/** @file Faults planted into the emitted source, of the kinds that kernels of this sort have had. */
import { runPasses, splitAttention, type Program } from "@mpk/ir";
import { semanticsTable } from "@mpk/ops";
import { head, layered, linear, linears, passed, writer } from "../../cuda/test/emitted/programs.ts";
import { attending, prompt } from "./emulated-programs.ts";
import { runEmulated, runVirtual, type EmulatedCase } from "./emulated.ts";

export interface Mutation {
  /** What is wrong, as a row of docs/reliability.md. */
  readonly fault: string;
  /** Text that the emitted source must hold, and what takes its place. */
  readonly replace: readonly (readonly [from: string, to: string])[];
  /** What the emulator says of it. */
  readonly says: RegExp;
  readonly target?: string;
  /** For faults that only some programs show. */
  readonly program?:
    | "layerNorm" | "wide" | "fromOne" | "flags" | "split" | "few" | "early" | "pairs" | "fewTiles" | "many"
    | "units";
}

const race = /: a race in /;
const wrong = /other tokens|no token could be chosen/;
const late = /a race with a read that may be under way in shared memory/;
const unrolled = "for (u32 i = 0; i < in[kWordSignals]; i++) {\n";

export const mutations: readonly Mutation[] = [
  {
    fault: "a signal is relaxed where it must release",
    replace: [[
      "add_release_gpu(event_counter(*c.params, events[i]), 1);",
      "emulator::add_strong(event_counter(*c.params, events[i]), 1, emulator::Order::relaxed, " +
        "emulator::Scope::gpu);",
    ]],
    says: race,
  },
  {
    fault: "a wait polls relaxed where it must acquire",
    replace: [["u32 seen = load_acquire_gpu(counter);", "u32 seen = load_relaxed_gpu(counter);"],
      ["    seen = load_acquire_gpu(counter);", "    seen = load_relaxed_gpu(counter);"]],
    says: race,
  },
  {
    fault: "no barrier between a task's writes and its signal",
    replace: [["  consumer_barrier();\n  if (c.thread == 0 && !is_aborted",
      "  if (c.thread == 0 && !is_aborted"]],
    says: race,
  },
  {
    fault: "no barrier between a task's waits and its reads",
    replace: [["* epochs);\n    }\n  }\n  consumer_barrier();", "* epochs);\n    }\n  }"]],
    says: race,
  },
  {
    fault: "a wait for the epoch before",
    replace: [[
      "(event & 0x80000000u) ? c.step : c.step + 1",
      "(event & 0x80000000u) ? c.step : c.step",
    ]],
    says: race,
  },
  {
    fault: "a wait for one signal less than there are",
    replace: [[
      "in[kWordFirstWait + 2 * i + 1] * epochs",
      "(in[kWordFirstWait + 2 * i + 1] - 1) * epochs",
    ]],
    says: race,
  },
  {
    fault: "a signal counts twice",
    replace: [["add_release_gpu(event_counter(*c.params, events[i]), 1);",
      "add_release_gpu(event_counter(*c.params, events[i]), 2);"]],
    says: race,
  },
  {
    fault: "a lost signal",
    replace: [[unrolled, `${unrolled}      if (c.sm == 1 && c.step == 2) continue;\n`]],
    says: /the watchdog ended the kernel: in step 2, SM \d/,
  },
  {
    fault: "consumers wait for the wrong phase of a full stage",
    replace: [[
      "const u32 parity = (chunk / kStages) & 1u;",
      "const u32 parity = ((chunk / kStages) & 1u) ^ 1u;",
    ]],
    says: race,
  },
  {
    fault: "the producer waits for the wrong phase of an empty stage",
    replace: [["const u32 parity = at.parity ^ 1u;", "const u32 parity = at.parity;"]],
    says: /: a race in |watchdog ended the kernel/,
  },
  {
    fault: "the producer does not wait for an empty stage",
    replace: [["await_empty(c) && await_copy(c)", "await_copy(c)"]],
    says: race,
  },
  {
    fault: "the producer takes the next lap's phases for this one's",
    replace: [["    bar -= kStages * 8;\n    parity ^= 1u;", "    bar -= kStages * 8;"]],
    says: /an mbarrier takes 1 arrivals a phase, this is one more/,
  },
  {
    fault: "a stage is released before it is read",
    replace: [["release_stage(c, chunk + i);\n", ""],
      ["        multiply_chunk<C>(stage_of(c, chunk + i)",
        "        release_stage(c, chunk + i);\n        multiply_chunk<C>(stage_of(c, chunk + i)"]],
    says: race,
  },
  {
    fault: "a stage is released by one lane before the others have read it",
    replace: [[
      "release_stage(const Context& c, u32 chunk) {\n  warp_barrier();",
      "release_stage(const Context& c, u32 chunk) {",
    ]],
    says: race,
  },
  {
    fault: "a stage is released twice",
    replace: [[
      "if (c.lane == 0) mbarrier_arrive(&c.shared->empty",
      "if (c.lane < 2) mbarrier_arrive(&c.shared->empty",
    ]],
    says: /an mbarrier takes 1 arrivals a phase, this is one more|: a race in |watchdog ended/,
  },
  {
    fault: "one token: a stage is freed before its reads have arrived",
    replace: [["    await_loads(word);\n", ""]],
    says: late,
    program: "flags",
  },
  {
    fault: "few tokens: a stage is freed before its reads have arrived",
    replace: [["      await_loads(read);\n      release", "      release"]],
    says: late,
    program: "few",
  },
  {
    fault: "few tokens, a chunk taken early: a stage is freed before its reads have arrived",
    replace: [["    await_loads(word);\n    release_stage(c, chunk);\n  }\n};",
      "    release_stage(c, chunk);\n  }\n};"]],
    says: late,
    program: "early",
  },
  {
    fault: "pairs of tiles: a stage is freed before its reads have arrived",
    replace: [["    await_loads(read);\n    release_stage(c, chunk);", "    release_stage(c, chunk);"]],
    says: late,
    program: "pairs",
  },
  {
    fault: "many tokens: a stage is freed before its reads have arrived",
    replace: [["      }\n    }\n  }\n  await_loads(read);\n", "      }\n    }\n  }\n"]],
    says: late,
    program: "many",
  },
  {
    fault: "many tokens: a chunk of several warps is freed by the first that has read it",
    replace: [["if (by.kWays == 1) release_stage(c, at);", "if (by.part == 0) release_stage(c, at);"],
      ["if (by.kWays == 1) return;\n    for", "return;\n    for"]],
    says: /: a race (in|with) /,
    program: "many",
  },
  {
    fault: "many tokens: a slice is multiplied by before its copies have landed",
    replace: [["      await_copies<kBuffers - 2>();\n", ""]],
    says: /other tokens|not numbers/,
    program: "many",
  },
  {
    fault: "many tokens: the next slice is copied over the one that is multiplied by",
    replace: [["slice + kBuffers - 1, buffer == 0 ? kBuffers - 1 : buffer - 1)",
      "slice + kBuffers - 1, buffer)"]],
    says: /: a race in /,
    program: "many",
  },
  {
    fault: "many tokens: a tile's sums are added up before all of its warps have put theirs",
    replace: [["acc[0][t]);\n    }\n    consumer_barrier();\n", "acc[0][t]);\n    }\n"]],
    says: race,
    program: "many",
  },
  {
    fault: "few tiles: a stage is freed before its reads have arrived",
    replace: [["    await_loads(read);\n    release_stage(c, chunk);\n#pragma unroll\n    for (u32 t = 0; t < kOctets",
      "    release_stage(c, chunk);\n#pragma unroll\n    for (u32 t = 0; t < kOctets"]],
    says: late,
    program: "fewTiles",
  },
  {
    fault: "few tiles: a tile's sums are added up before all warps have put theirs",
    replace: [["few.put(c, tiles);\n  consumer_barrier();\n", "few.put(c, tiles);\n"]],
    says: race,
    program: "fewTiles",
  },
  {
    fault: "cached keys: a stage is freed before its reads have arrived",
    replace: [["    trust_loads();\n#pragma unroll", "#pragma unroll"],
      ["weights, first);\n    }\n    trust_loads();\n", "weights, first);\n    }\n"]],
    says: late,
    program: "split",
  },
  {
    fault: "a stage is read by loads that nothing waits for",
    replace: [["Vec4 a0 = load_staged(a + block * 1024);",
      "Vec4 a0 = *reinterpret_cast<const Vec4*>(a + block * 1024);"]],
    says: /a read that nothing waits for in shared memory/,
  },
  {
    fault: "a short copy",
    replace: [[
      "copy_to_stage(to, src, bytes,",
      "copy_to_stage(to, src, bytes - 512,",
    ]],
    says: wrong,
  },
  {
    fault: "a copy from the chunk before",
    replace: [[
      "copy_to_stage(to, src, bytes,",
      "copy_to_stage(to, src - (at.stage % 3 == 2 && src > c.params->stream ? 1024 : 0), bytes,",
    ]],
    says: wrong,
  },
  {
    fault: "copies are in flight when the block ends",
    replace: [["  producer.drain();\n", ""]],
    says: /copies to the shared memory of an SM whose threads are gone/,
  },
  {
    fault: "mbarriers are not fenced for the copy engine",
    replace: [["    mbarrier_init_fence();\n", ""]],
    says: /no proxy fence between a write and a bulk copy/,
  },
  {
    fault: "no barrier between the mbarriers' initialization and their use",
    replace: [["  block_barrier();\n  if (kRunStart", "  if (kRunStart"]],
    says: /: a race in |not initialized/,
  },
  {
    fault: "two sums in a row share their slots",
    replace: [[
      "float* sums = c.shared->reduce + slot * kConsumerWarps;",
      "float* sums = c.shared->reduce;",
    ]],
    says: race,
    program: "layerNorm",
  },
  {
    fault: "tile groups share one partial buffer",
    replace: [["    buffer ^= 1;\n", ""]],
    says: race,
    program: "wide",
  },
  {
    fault: "the next instruction overwrites the one that runs",
    replace: [["return c.shared->instruction[i % 3];", "return c.shared->instruction[i % 2];"]],
    says: race,
    program: "flags",
  },
  {
    fault: "a token's count goes to the host before the token may be read",
    replace: [["store_release_system(control_word(p, kControlProduced), produced);",
      "emulator::store_strong(control_word(p, kControlProduced), produced, emulator::Order::relaxed, " +
        "emulator::Scope::system);"]],
    says: /: a race in tokens/,
  },
  {
    fault: "every query head appends its group's key and value",
    replace: [["head % kGroup == 0) append_rows", "true) append_rows"]],
    says: race,
  },
  {
    fault: "a tile's keys are read where others write them in the same step",
    replace: [["base + row < c.position ? base + row : c.position - 1", "base + row"]],
    says: race,
    program: "fromOne",
  },
  {
    fault: "activations are read past coherence (ld.global.nc)",
    replace: [["  Vec4 r = load_vec4(p);\n", "  Vec4 r = load_const_vec4(p);\n"]],
    says: /read as constant what the launch writes/,
  },
  {
    fault: "a shuffle that half of the lanes do not reach",
    replace: [[
      "  v = warp_sum(v);\n  if (c.lane == 0) sums",
      "  if (c.lane < 16) v = warp_sum(v);\n  if (c.lane == 0) sums",
    ]],
    says: /a lane is at|wait at barriers/,
  },
  {
    fault: "flags: a word is not cleared in the other copy",
    replace: [["  store_relaxed_gpu(other_copy(c, to), kAbsent);\n", ""]],
    says: wrong,
    program: "flags",
  },
  {
    fault: "flags: four words are taken once the first is there",
    replace: [["v.x != kAbsent && v.y != kAbsent && v.z != kAbsent && v.w != kAbsent", "v.x != kAbsent"]],
    says: wrong,
    program: "flags",
  },
  {
    fault: "flags: both steps use one copy",
    replace: [["s.copyOffset ^= kFlagCopyBytes;", "s.copyOffset = 0;"]],
    says: wrong,
    program: "flags",
  },
  {
    fault: "flags: steps of several tokens are not counted",
    replace: [[" else s.manySteps++;", ""]],
    says: race,
    program: "flags",
  },
  {
    fault: "cached keys are copied before the step is open",
    replace: [["if (!await_phase(c, &c.shared->opened, c.step)) return false;", ""]],
    says: race,
    program: "split",
  },
  {
    fault: "a row is appended while its chunk is still being copied",
    replace: [["    wait_full(c, own);\n", ""]],
    says: race,
    program: "split",
  },
  {
    fault: "this step's rows are copied before they are appended",
    replace: [["if (appended > 0 && !awaited && !producer.await_append(c)) return;", ""]],
    says: race,
    program: "split",
  },
  {
    fault: "the units of this step's rows are taken for those of one split",
    replace: [["produce_units<C, 1>", "produce_units<C, C::kSplits>"]],
    says: wrong,
    program: "units",
  },
  {
    fault: "cached keys are copied from a page that there is not",
    replace: [["i32 page = page_of(c, place.pages, position);",
      "i32 page = page_of(c, place.pages, position) + static_cast<i32>(kPages);"]],
    says: /not all in a buffer/,
    program: "split",
  },
  {
    fault: "no proxy fence between appended rows and their copies",
    replace: [["    fence_async();\n    return !leaving", "    return !leaving"]],
    says: /no proxy fence between a write and a bulk copy/,
    program: "split",
  },
];

const programs: Readonly<Record<"decoder" | NonNullable<Mutation["program"]>, () => Program>> = {
  decoder: () => passed(layered(2)),
  layerNorm: () => {
    const w = writer("layer-norm", { maxTokens: 1, maxContext: 32 });
    return head(w, linear(w, "w", w.embed(300, 64), 64, { norm: "layer" }), 40);
  },
  fromOne: () => passed(layered(2)),
  flags: () => passed(layered(2)),
  split: () => {
    const form = { heads: 2, kvHeads: 1, headDim: 64 };
    return runPasses(attending(form), semanticsTable, [splitAttention(2)]);
  },
  units: () => {
    const form = { heads: 2, kvHeads: 1, headDim: 64 };
    const limits = { maxTokens: 5, maxContext: 128 };
    return runPasses(attending(form, limits), semanticsTable, [splitAttention(2)]);
  },
  few: () => linears(8, 96),
  early: () => linears(8, 2048),
  pairs: () => {
    const w = writer("pairs", { maxTokens: 7, maxContext: 64 });
    const x = w.embed(300, 64);
    const up = linear(w, "up", x, 6144, { out: "bf16" });
    return passed(head(w, linear(w, "down", up, 64, { epilogue: "a0 + a1", extras: [x] }), 40));
  },
  fewTiles: () => {
    const w = writer("few tiles", { maxTokens: 16, maxContext: 64 });
    return passed(head(w, linear(w, "w", w.embed(300, 4096), 48, { norm: "rms" }), 40));
  },
  many: () => {
    const w = writer("many", { maxTokens: 64, maxContext: 128 });
    return passed(head(w, linear(w, "w", w.embed(300, 4096), 80, { norm: "rms" }), 40));
  },
  wide: () => {
    const w = writer("wide", { maxTokens: 8, maxContext: 32 });
    return head(w, linear(w, "w", w.embed(300, 64), 4096), 40);
  },
};

/** A decoder on three SMs whose ring goes round many times. */
export const caseOf = ({ program, target }: Pick<Mutation, "program" | "target">): EmulatedCase => ({
  program: programs[program ?? "decoder"](),
  target: target ?? "sm_90a",
  sms: program === "wide" ? 1 : program === "pairs" ? 2 : 3,
  planOptions: {
    stages: 8, maxInFlight: 5, ...(program === "flags" ? { protocol: "flag" as const } : {}),
    ...(program === "pairs" ? { pairs: true } : {}),
  },
  maxTokens: 10,
  ...(program === "fromOne" ? { promptIds: [5] } : {}),
  ...(program === "units" ? { promptIds: prompt(34) } : {}),
  ...(program === "fewTiles" ? { promptIds: prompt(12) } : {}),
  instrument: "races",
});

/** The text with the fault in it. @throws where the emitted source has changed. */
export function planted({ fault, replace }: Mutation, source: string): string {
  return replace.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`"${fault}": the source has no ${from}`);
    return text.replaceAll(from, to);
  }, source);
}

/** What the emulator says of a fault within these seeds, or null where it says nothing. */
export async function sayOf(mutation: Mutation, seeds: readonly number[]): Promise<string | null> {
  const c = caseOf(mutation);
  const wanted = await runVirtual(c);
  for (const scheduleSeed of seeds) {
    try {
      const edit = (source: string) => planted(mutation, source);
      const got = await runEmulated({ ...c, scheduleSeed, edit });
      if (got.tokens.join() !== wanted.tokens.join()) return "other tokens";
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
  return null;
}
