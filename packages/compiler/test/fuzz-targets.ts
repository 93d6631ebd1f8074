/** @file Everything that reads untrusted input, with inputs near good ones, for the fuzzing tests. */
import { emit, emitLauncher } from "@mpk/cuda";
import { defineModel } from "@mpk/dsl";
import { parseProgram, printProgram, runPasses, verifyProgram } from "@mpk/ir";
import { buildModel, readConfig } from "@mpk/models";
import { bodyTable, scheduleTable, semanticsTable } from "@mpk/ops";
import {
  fromJson, parseJson, parseManifest, parseProfileFile, readIndex, readSafetensorsHeader,
} from "@mpk/runtime";
import {
  counterexampleOf, gpus, loadCounterexample, loadPlan, plan, readGpu, replay, saveCounterexample,
  saveGpu, savePlan, simulate, verify, virtual,
} from "@mpk/schedule";
import fc, { type Arbitrary } from "fast-check";
import {
  asBytes, damaged, fuzz, jsonMutants, textMutants, type Fuzzed, type FuzzOptions,
} from "../../../scripts/fuzz.ts";
import { newState, parseSoakState, rowOf, sampleOf } from "../src/endurance/state.ts";
import { generationEos } from "../src/load.ts";
import { accountsOf } from "../src/profile/index.ts";
import { profileOf } from "../src/simulate/index.ts";
import { requireSamePlan, runOf } from "../src/view/index.ts";
import { tinyConfig } from "./checkpoint.ts";

export interface Target {
  readonly name: string;
  run(options: FuzzOptions): Fuzzed;
}

/** The error classes whose messages are made for users. */
const ours = new Set([
  "MpkError", "ConfigError", "PlanError", "PlanFormatError", "ParseError", "ProgramError",
  "ShapeError", "WeightError", "ReplayError",
]);
const isOurs = (error: unknown): boolean => error instanceof Error && ours.has(error.name);

const target = <T>(name: string, inputs: Arbitrary<T>, parse: (input: T) => unknown): Target => ({
  name,
  run: (options) => fuzz(inputs, parse, isOurs, options),
});

const dataBytes = 24;
const header = {
  __metadata__: { format: "pt" },
  "model.a.weight": { dtype: "BF16", shape: [2, 3], data_offsets: [0, 12] },
  "model.b": { dtype: "F32", shape: [2], data_offsets: [12, 20] },
  c: { dtype: "U8", shape: [2, 2], data_offsets: [20, 24] },
};

function withLength(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  const out = new Uint8Array(8 + bytes.length + dataBytes);
  new DataView(out.buffer).setBigUint64(0, BigInt(bytes.length), true);
  out.set(bytes, 8);
  return out;
}

const safetensors = jsonMutants([header]).map(withLength);

/** What is accepted lies inside the file. */
function readHeader(bytes: Uint8Array): void {
  const { entries } = readSafetensorsHeader("fuzz", bytes.length, (offset, length) => {
    if (offset < 0 || offset + length > bytes.length) throw new RangeError("over-read");
    return bytes.slice(offset, offset + length);
  });
  for (const { lo, hi } of entries) {
    if (!(lo >= 8 && lo <= hi && hi <= bytes.length)) throw new RangeError("outside of the file");
  }
}

const index = { metadata: { total_size: 24 }, weight_map: {
  "model.a.weight": "model-00001-of-00002.safetensors", c: "model-00002-of-00002.safetensors",
} };

const rope = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4,
  original_max_position_embeddings: 32 };
const configs = [
  tinyConfig,
  { ...tinyConfig, rope_scaling: rope, attention_bias: true, mlp_bias: true, eos_token_id: [1, 2] },
  { ...tinyConfig, architectures: ["Qwen3ForCausalLM"], model_type: "qwen3",
    layer_types: ["full_attention", "sliding_attention"], sliding_window: 8,
    use_sliding_window: true, max_window_layers: 1 },
];

function readModel(bytes: Uint8Array): void {
  const config = readConfig(parseJson(bytes, "config.json", "fix"));
  // Building takes a hundred times as long as reading: one in 32, and no deep ones.
  if (config.layers > 4 || bytes.length % 32 !== 0) return;
  const program = buildModel(config, {});
  const [first] = verifyProgram(program, semanticsTable);
  if (first !== undefined) throw new Error(`an invalid Program: ${first.message}`);
}

/** One of each: a lookup, a streamed op, a choice; and attention with its state. */
const smallest = plan(
  runPasses(
    defineModel({ name: "tiny", limits: { maxTokens: 1, maxContext: 4 } }, (m) => {
      const table = m.weight("table", [32, 32]);
      const logits = table.lookup(m.ids()).last().matmul(table);
      return { logits, token: logits.sample() };
    }),
    semanticsTable,
  ),
  scheduleTable,
  virtual(1),
);
const small = plan(
  runPasses(
    buildModel(
      readConfig({ ...tinyConfig, num_hidden_layers: 1, vocab_size: 40 }),
      { maxTokens: 2, maxContext: 16 },
    ),
    semanticsTable,
  ),
  scheduleTable,
  virtual(2),
);
const planJsons = [smallest, smallest, smallest, smallest, small].map(
  (one): unknown => JSON.parse(savePlan(one)),
);

function readPlanText(bytes: Uint8Array): void {
  const loaded = loadPlan(new TextDecoder().decode(bytes));
  if (bytes.length % 16 === 0) verify(loaded, scheduleTable);
}

/** The shapes of published tokenizers, with small vocabularies. */
const vocab = Object.fromEntries(["<unk>", "a", "b", "th", "Ġ", "▁", "##c"].map((t, i) => [t, i]));
const added = { id: 7, content: "<s>", single_word: false, lstrip: false, rstrip: false,
  normalized: false, special: true };
const tokenizers = [
  { version: "1.0", added_tokens: [added], normalizer: { type: "NFC" },
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
    post_processor: { type: "ByteLevel", trim_offsets: true }, decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab, merges: ["a b"], unk_token: null, byte_fallback: false } },
  { version: "1.0", added_tokens: [], normalizer: { type: "Sequence", normalizers: [
      { type: "Prepend", prepend: "▁" },
      { type: "Replace", pattern: { String: " " }, content: "▁" } ] },
    pre_tokenizer: { type: "Split", pattern: { Regex: "\\w+|\\s" }, behavior: "Isolated" },
    post_processor: { type: "TemplateProcessing", single: [{ Sequence: { id: "A", type_id: 0 } }],
      pair: [], special_tokens: {} },
    decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Fuse" },
      { type: "Strip", content: " ", start: 1, stop: 0 }] },
    model: { type: "BPE", vocab, merges: [["a", "b"]], unk_token: "<unk>", byte_fallback: true } },
  { version: "1.0", added_tokens: [], normalizer: { type: "BertNormalizer", lowercase: true },
    pre_tokenizer: { type: "BertPreTokenizer" }, post_processor: null,
    decoder: { type: "WordPiece", prefix: "##" },
    model: { type: "WordPiece", vocab, unk_token: "<unk>", continuing_subword_prefix: "##",
      max_input_chars_per_word: 100 } },
  { version: "1.0", added_tokens: [], normalizer: null, pre_tokenizer: { type: "Metaspace" },
    post_processor: null, decoder: { type: "Metaspace" },
    model: { type: "Unigram", unk_id: 0, vocab: [["<unk>", 0], ["a", -1], ["▁", -2]] } },
];

function readTokenizer(bytes: Uint8Array): void {
  const json = parseJson(bytes, "tokenizer.json", "fix");
  if (typeof json !== "object" || json === null) return;
  const tokenizer = fromJson(json, {}, "tokenizer.json", 10);
  tokenizer.encode("a bath, c");
  tokenizer.decode([1, 2, 3, 7]);
}

const manifests = [smallest, small].map(
  (one) => emit(one, scheduleTable, bodyTable, { target: "sm_90a" }).manifest,
);

/** What is accepted can be written as a launcher. */
function readManifest(bytes: Uint8Array): void {
  const manifest = parseManifest(bytes, "manifest.json");
  if (bytes.length % 32 === 0) emitLauncher(manifest);
}

/** A plan with a wait that nothing ends, and the schedule that shows it. */
const threshold = small.events.threshold.map((count, event) => (event === 0 ? count + 1 : count));
const broken = { ...small, events: { ...small.events, threshold } };
const [violation] = verify(broken, scheduleTable).laws.flatMap((law) => law.violations);
if (violation === undefined) throw new Error("the broken plan breaks no law");
const counterexamples: readonly unknown[] = [
  JSON.parse(saveCounterexample(counterexampleOf(broken, scheduleTable, violation))),
];

function replayText(bytes: Uint8Array): void {
  const text = new TextDecoder().decode(bytes);
  replay(broken, scheduleTable, loadCounterexample(text));
}

const soaks: readonly unknown[] = [{
  ...newState({ model: "m", device: "d", seed: 1, maxContext: 16, vocab: 4 }),
  endings: { left: 2 }, canary: "ab",
  samples: [sampleOf(3, [1, 2], Float32Array.of(1, -2, 0.5, 4))],
}];

/** What is accepted can be compared and told. */
function readSoak(bytes: Uint8Array): void {
  for (const sample of parseSoakState(bytes, "soak.json").samples) rowOf(sample);
}

const machineFiles: readonly unknown[] = [JSON.parse(saveGpu(gpus.h200))];

/** A machine that is accepted can be simulated on. */
function readMachine(bytes: Uint8Array): void {
  const { constants } = readGpu(new TextDecoder().decode(bytes));
  if (bytes.length % 16 === 0) simulate(smallest, scheduleTable, constants, { context: 2 });
}

const simulated = simulate(small, scheduleTable, gpus.h200.constants, { context: 2, record: true });
const profiles: readonly unknown[] = [{
  format: "mpk-profile", version: 1, model: "m", device: "d", context: 2,
  setting: { machine: small.machine, target: "sm_90a", maxContext: 4, maxTokens: 1, plan: {} },
  ...profileOf(small, simulated),
}];

/** A profile that is accepted, and is the plan's, can be shown. */
function readProfile(bytes: Uint8Array): void {
  const file = parseProfileFile(bytes, "a.profile.json");
  requireSamePlan(small, file, "a.profile.json");
  accountsOf(small, file, 1e12);
  file.steps.forEach((_, i) => runOf(small, file, i, { label: "", kind: "measured", detail: "" }));
}

const programTexts = [printProgram(smallest.program), printProgram(small.program)];

function readProgram(text: string): void {
  const program = parseProgram(text);
  if (text.length % 8 === 0) verifyProgram(program, semanticsTable);
}

export const targets: readonly Target[] = [
  target("safetensors headers", fc.oneof({ weight: 15, arbitrary: safetensors }, { weight: 1, arbitrary: damaged(safetensors) }), readHeader),
  target("index files", asBytes(jsonMutants([index])), (bytes) => readIndex(bytes, "index")),
  target("config.json", asBytes(jsonMutants(configs)), readModel),
  target("generation_config.json", asBytes(jsonMutants([{ eos_token_id: [1, 2] }])), (bytes) =>
    generationEos(parseJson(bytes, "generation_config.json", "fix"), "generation_config.json", 9)),
  target("tokenizer.json", asBytes(jsonMutants(tokenizers)), readTokenizer),
  target("saved plans", asBytes(jsonMutants(planJsons)), readPlanText),
  target("counterexamples", asBytes(jsonMutants(counterexamples)), replayText),
  target("Manifests", asBytes(jsonMutants(manifests)), readManifest),
  target("machines", asBytes(jsonMutants(machineFiles)), readMachine),
  target("profiles", asBytes(jsonMutants(profiles)), readProfile),
  target("soaks", asBytes(jsonMutants(soaks)), readSoak),
  target("Program texts", textMutants(programTexts), readProgram),
];
