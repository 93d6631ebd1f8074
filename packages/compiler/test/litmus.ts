/** @file Small kernels written by hand, which ask the emulator's memory what it allows. */
import { controlWords, emulatorFiles, kernelParams, paramsAsC, type Manifest } from "@mpk/cuda";
import { ControlWord, Status } from "@mpk/cuda/manifest";
import { openEmulated, type Weights } from "@mpk/runtime";
import { generate } from "./emulated.ts";

/** Two words, x and y, both 0; each SM's text gives `a`, and the last one's `b` too. */
export interface Litmus {
  readonly name: string;
  /** C++ of each SM's thread 0 (or of both its threads, by `lane`), in every round. */
  readonly sms: readonly string[];
}

/** Repetitions in a launch, on fresh words each time. */
const rounds = 48;

const constants = (entries: Readonly<Record<string, number>>): string =>
  Object.entries(entries).map(([name, value]) => `constexpr u32 ${name} = ${value}u;\n`).join("");

function sourceOf({ sms }: Litmus): string {
  const cases = sms.map((text, sm) => `if (block_index() == ${sm}) { ${text} }`).join(" else ");
  return `${paramsAsC()}
${constants({
  kThreads: 32, kStages: 1, kStageBytes: 1024, kWorkBytes: 0, kSharedReserve: 1024,
  kControlProduced: ControlWord.produced, kControlStatus: ControlWord.status,
  kControlSteps: ControlWord.steps, kControlStop: ControlWord.stop,
})}
MPK_CONSTANT u32 kRunStart[] = { ${"0, ".repeat(sms.length + 1)}};
inline const u32* abort_word(const Params& p) { return reinterpret_cast<u32*>(p.events); }
inline void wait_for(const u32* word, u32 count) {
  while (load_acquire_gpu(word) < count) {
  }
}
MPK_KERNEL void mpk_decode(const __grid_constant__ Params p) {
  u32* words = reinterpret_cast<u32*>(p.events) + 32;
  u32* gate = words + 64 * ${rounds};
  const u32 lane = thread_index();
  for (u32 round = 0; round < ${rounds}; round++) {
    u32* x = words + 64 * round;
    u32* y = x + 32;
    u32 a = 0, b = 0;
    if (lane == 0) {
      add_release_gpu(gate, 1);
      wait_for(gate, ${sms.length} * (round + 1));
    }
    block_barrier();
    ${cases}
    (void)x, (void)y;
    if (lane == 0) reinterpret_cast<u32*>(p.tokens)[round * ${sms.length} + block_index()] = a * 4 + b;
  }
  block_barrier();
  if (lane != 0) return;
  add_release_gpu(gate, 1);
  if (block_index() != 0) return;
  wait_for(gate, ${sms.length * (rounds + 1)});
  store_release_system(reinterpret_cast<u32*>(p.control) + kControlProduced, p.maxNew);
  store_release_system(reinterpret_cast<u32*>(p.control) + kControlStatus, ${Status.maxNew});
}
MPK_KERNEL void mpk_pack(u8*, const u32*, const u16*, const u16*, const u16*, const u16*, const u16*,
  const u16*, const u16*, const u16*, u32, u32, u32, u32, u32, u32, u32, u32) {}
`;
}

const manifestOf = ({ name, sms }: Litmus): Manifest => ({
  format: "mpk-manifest", version: 1, model: name, target: "sm_90a",
  entries: { decode: "mpk_decode", pack: "mpk_pack" },
  launch: { blocks: sms.length, threads: 32, sharedBytes: 2048, packThreads: 32 },
  params: kernelParams,
  memory: {
    streamBytes: 0, residentBytes: 0, scratchBytes: 0, kvBytes: 0, stepBytes: 64, pages: 1,
    eventBytes: 4 * (64 * (rounds + 1) + 64 + controlWords),
  },
  limits: { maxTokens: 1, maxContext: 4096, vocab: 64 },
  pack: [], resident: [], ops: [], streamedBytesPerStep: 0,
});

const noWeights: Weights = {
  bytes: 0, names: [], has: () => false, close: () => undefined,
  tensor: (name) => { throw new Error(`no tensor ${name}`); },
  expect: (name) => { throw new Error(`no tensor ${name}`); },
};

/** What each round of each schedule gave: `a b` of every SM, such as `00 01`. */
export async function outcomes(
  litmus: Litmus,
  seeds: readonly number[],
): Promise<ReadonlySet<string>> {
  const seen = new Set<string>();
  for (const scheduleSeed of seeds) {
    const device = await openEmulated({
      source: sourceOf(litmus), manifest: manifestOf(litmus), weights: noWeights,
      files: emulatorFiles(), scheduleSeed, instrument: "races",
    });
    const { tokens } = await generate(device, {
      promptIds: [0], maxTokens: rounds * litmus.sms.length, eosIds: [], logits: "none",
      sampling: { temperature: 0, topK: 0, topP: 1, seed: 0n }, stamps: false, startPosition: 0,
      signal: new AbortController().signal,
    });
    for (let at = 0; at < tokens.length; at += litmus.sms.length) {
      const round = tokens.slice(at, at + litmus.sms.length);
      seen.add(round.map((word) => `${word >> 2}${word & 3}`).join(" "));
    }
  }
  return seen;
}
