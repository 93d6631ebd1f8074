/** @file open(): a checkpoint compiled, loaded and ready for prompts, on what device there is. */
import { emitTools, emulatorFiles } from "@mpk/cuda";
import type { Precision } from "@mpk/ir";
import { scheduleTable } from "@mpk/ops";
import {
  inputError,
  openCuda,
  openEmulated,
  openTokenizer,
  openVirtual,
  openWeights,
  randomWeights,
  sessionOver,
  type DeviceBackend,
  type Environment,
  type GenerateRequest,
  type Instrument,
  type Native,
  type Session,
  type Summary,
  type Tokenizer,
  type Weights,
} from "@mpk/runtime";
import type { Compiled, CompileOptions } from "./compile.ts";
import { chooseDevice, compileFor, compileTuned, type Device, type DeviceChoice } from "./device.ts";
import type { ModelSource } from "./load.ts";

export type { DeviceChoice } from "./device.ts";

export interface OpenOptions extends CompileOptions {
  /** Default `auto`: a GPU with a compiler for it, else the virtual GPU. */
  readonly device?: DeviceChoice;
  /** Which GPU; default 0. */
  readonly ordinal?: number;
  /** Of the virtual GPU: bf16 (the default) rounds as the kernel does, f32 never rounds. */
  readonly precision?: Precision;
  /**
   * Of the emulated GPU: chooses which thread runs next, and when copies end; a seed replays its
   * run. Default 0: each thread runs until it must wait, which is fastest.
   */
  readonly scheduleSeed?: number;
  /** Of the emulated GPU: what to watch the kernel for; default nothing. */
  readonly instrument?: Instrument;
  /** Ends a kernel that waits longer; default 1.2, more where contexts are long. */
  readonly watchdogSeconds?: number;
  /** Told, once each, what went wrong without stopping anything, such as a damaged cache. */
  readonly onNotice?: (notice: string) => void;
  readonly env?: Environment;
  readonly native?: Native;
  /** Where there is no checkpoint: random weights of this seed. Default: a checkpoint is needed. */
  readonly randomSeed?: bigint;
  /** Take what `mpk tune` found for this model and GPU, if anything; default true. */
  readonly tuned?: boolean;
  /** Compiled before, from the same source with the same options: not again. */
  readonly compiled?: Compiled;
  /** On a GPU, also load what measuring needs: random values made there, a read probe. */
  readonly measure?: boolean;
}

/** What a text generation takes; `prompt` in place of its ids. */
export type TextRequest = Omit<GenerateRequest, "promptIds">;

/** Text as it becomes whole. */
export interface TextGeneration extends AsyncIterable<string> {
  summary(): Summary;
  /** Ids so far. */
  readonly tokens: readonly number[];
}

export interface Opened extends AsyncDisposable {
  readonly compiled: Compiled;
  readonly session: Session;
  readonly tokenizer: Tokenizer | null;
  /** Generates text after a prompt. @throws MpkError where the checkpoint has no tokenizer. */
  text(prompt: string, request?: TextRequest): TextGeneration;
  close(): Promise<void>;
}

/** Tensors that some tools save although the model has them elsewhere or computes them. */
const harmless = /(^|\.)(lm_head\.weight|rotary_emb\.inv_freq)$/;

/** Refuses tensors that the model would leave out, such as a bias that config.json denies. */
function checkLeftOver(compiled: Compiled, weights: Weights): void {
  const used = new Set(
    compiled.plan.program.weights.flatMap(({ parts }) => parts.map(({ tensor }) => tensor)),
  );
  const left = weights.names.filter((name) => !used.has(name) && !harmless.test(name));
  if (left.length === 0) return;
  weights.close();
  throw inputError(
    `${compiled.checkpoint}: config.json leaves no place for ${left.length} of its tensors, ` +
      `such as "${left[0]}"`,
    "does config.json belong to these weights? Look at layer counts and bias flags",
  );
}

/**
 * Compiles a checkpoint and puts it on a device.
 * @throws MpkError naming what is wrong with checkpoint, machine or options.
 */
export async function open(source: ModelSource, options: OpenOptions = {}): Promise<Opened> {
  const device = await chooseDevice(options);
  const compiled = options.compiled ??
    await compileTuned(source, await compileFor(device, options), device, options);
  const name = typeof source === "string" ? source : source.name;
  const tokenizer = compiled.checkpoint === null ? null : openTokenizer(compiled.checkpoint);
  const weights = await weightsOf(compiled, name, options.randomSeed);
  const session = await openSession(compiled, weights, device, options).catch((error: unknown) => {
    weights.close();
    throw error;
  });
  const close = async () => {
    await session.close().finally(weights.close);
  };
  return {
    compiled,
    session,
    tokenizer,
    text: (prompt, request) => textOf(session, tokenizer, name, prompt, request ?? {}),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function weightsOf(
  compiled: Compiled,
  name: string,
  randomSeed: bigint | undefined,
): Promise<Weights> {
  if (compiled.checkpoint !== null) {
    const weights = await openWeights(compiled.checkpoint);
    checkLeftOver(compiled, weights);
    return weights;
  }
  if (randomSeed !== undefined) return randomWeights(compiled.plan.program, randomSeed);
  throw inputError(
    `${name} is not a checkpoint folder, so there are no weights to run with`,
    "name a folder with config.json and model.safetensors",
  );
}

async function openSession(
  compiled: Compiled,
  weights: Weights,
  device: Device,
  options: OpenOptions,
): Promise<Session> {
  const open = { cuda: openGpu, emulated: openCpu, virtual: openInterpreter } satisfies Record<
    Device,
    unknown
  >;
  const backend = await open[device](compiled, weights, options);
  const { vocab } = compiled;
  const { maxContext } = compiled.program.limits;
  return sessionOver(backend, { vocab, maxContext }, compiled.eosIds);
}

const openInterpreter = (
  { plan }: Compiled,
  weights: Weights,
  { precision = "bf16" }: OpenOptions,
): Promise<DeviceBackend> => openVirtual({ plan, table: scheduleTable, weights, precision });

/** What the real and the emulated GPU take alike. */
function kernelOf(compiled: Compiled, weights: Weights, options: OpenOptions) {
  const { source, manifest } = compiled;
  if (source === null || manifest === null) throw new Error("compiled without a target");
  if (options.precision === "f32") {
    throw inputError(
      "--precision f32 needs the virtual GPU: kernels compute in bf16 where the model says so",
      "add --device virtual",
    );
  }
  const { watchdogSeconds, onProgress, env } = options;
  return {
    source,
    manifest,
    weights,
    ...(watchdogSeconds === undefined
      ? {}
      : { watchdogNanos: BigInt(Math.round(watchdogSeconds * 1e9)) }),
    ...(onProgress === undefined ? {} : { onProgress }),
    ...(env === undefined ? {} : { env }),
  };
}

async function openGpu(
  compiled: Compiled,
  weights: Weights,
  options: OpenOptions,
): Promise<DeviceBackend> {
  const { ordinal, onNotice, native } = options;
  return openCuda({
    ...kernelOf(compiled, weights, options),
    ...(onNotice === undefined ? {} : { onNotice }),
    ...(options.measure === true && compiled.manifest !== null
      ? { tools: emitTools(compiled.manifest.target) }
      : {}),
    ...(ordinal === undefined ? {} : { ordinal }),
    ...(native === undefined ? {} : { native }),
  });
}

async function openCpu(
  compiled: Compiled,
  weights: Weights,
  options: OpenOptions,
): Promise<DeviceBackend> {
  const { scheduleSeed, instrument } = options;
  return openEmulated({
    ...kernelOf(compiled, weights, options),
    files: emulatorFiles(),
    ...(scheduleSeed === undefined ? {} : { scheduleSeed }),
    ...(instrument === undefined ? {} : { instrument }),
  });
}

function textOf(
  session: Session,
  tokenizer: Tokenizer | null,
  checkpoint: string,
  prompt: string,
  request: TextRequest,
): TextGeneration {
  if (tokenizer === null) {
    throw inputError(
      `${checkpoint}: tokenizer.json is missing, so text cannot be read or written`,
      "pass token ids (--prompt-ids), or add the tokenizer's files",
    );
  }
  const generation = session.generate({ ...request, promptIds: tokenizer.encode(prompt) });
  const tokens: number[] = [];
  async function* pieces(text: Tokenizer) {
    const stream = text.stream();
    for await (const id of generation) {
      tokens.push(id);
      const piece = stream.push(id);
      if (piece !== "") yield piece;
    }
    const rest = stream.end();
    if (rest !== "") yield rest;
  }
  return {
    tokens,
    summary: generation.summary,
    [Symbol.asyncIterator]: () => pieces(tokenizer),
  };
}
