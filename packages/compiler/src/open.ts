/** @file open(): a checkpoint compiled, loaded and ready for prompts, on what device there is. */
import type { Precision } from "@mpk/ir";
import { scheduleTable } from "@mpk/ops";
import {
  inputError,
  listDevices,
  openCuda,
  openDriver,
  openTokenizer,
  openVirtual,
  openWeights,
  sessionOver,
  type DeviceBackend,
  type Environment,
  type GenerateRequest,
  type Native,
  type Session,
  type Summary,
  type Tokenizer,
  type Weights,
} from "@mpk/runtime";
import { virtual } from "@mpk/schedule";
import { compile, type Compiled, type CompileOptions } from "./compile.ts";
import { diagnose } from "./doctor.ts";
import { checkSms, machineOfDevice } from "./machine.ts";

export type DeviceChoice = "auto" | "cuda" | "virtual";

export interface OpenOptions extends CompileOptions {
  /** Default `auto`: a GPU with a compiler for it, else the virtual GPU. */
  readonly device?: DeviceChoice;
  /** Which GPU; default 0. */
  readonly ordinal?: number;
  /** Of the virtual GPU: bf16 (the default) rounds as the kernel does, f32 never rounds. */
  readonly precision?: Precision;
  /** Ends a kernel that waits longer; default 10. */
  readonly watchdogSeconds?: number;
  readonly env?: Environment;
  readonly native?: Native;
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

/** SMs of the virtual GPU unless told otherwise: enough for hand-offs, few enough to be quick. */
const virtualSms = 8;

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
export async function open(checkpoint: string, options: OpenOptions = {}): Promise<Opened> {
  const device = await chooseDevice(options);
  const compiled = await compile(checkpoint, await compileFor(device, options));
  if (compiled.checkpoint === null) {
    throw inputError(
      `${checkpoint} is not a checkpoint folder, so there are no weights to run with`,
      "name a folder with config.json and model.safetensors",
    );
  }
  const tokenizer = openTokenizer(compiled.checkpoint);
  const weights = await openWeights(compiled.checkpoint);
  checkLeftOver(compiled, weights);
  const session = await openSession(compiled, weights, device, options).catch((error: unknown) => {
    weights.close();
    throw error;
  });
  const close = async () => {
    await session.close();
    weights.close();
  };
  return {
    compiled,
    session,
    tokenizer,
    text: (prompt, request) => textOf(session, tokenizer, checkpoint, prompt, request ?? {}),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function chooseDevice(options: OpenOptions): Promise<"cuda" | "virtual"> {
  const { device = "auto", env = process.env } = options;
  return device === "auto" ? (await diagnose(env)).uses : device;
}

/** The options that fit the device: its own target and SMs, unless the caller says otherwise. */
async function compileFor(
  device: "cuda" | "virtual",
  options: OpenOptions,
): Promise<CompileOptions> {
  if (device === "virtual") {
    const machine = options.machine ?? virtual(checkSms(options.sms ?? virtualSms));
    return { ...options, target: null, machine };
  }
  const driver = await openDriver(options.env ?? process.env, options.native);
  const info = listDevices(driver)[options.ordinal ?? 0];
  if (info === undefined || options.machine !== undefined) return options;
  const { target, machine } = machineOfDevice(info);
  const sms = Math.min(options.sms ?? machine.sms, machine.sms);
  return { ...options, target: options.target ?? target, machine: { ...machine, sms } };
}

async function openSession(
  compiled: Compiled,
  weights: Weights,
  device: "cuda" | "virtual",
  options: OpenOptions,
): Promise<Session> {
  const backend = device === "cuda"
    ? await openGpu(compiled, weights, options)
    : await openVirtual({
      plan: compiled.plan,
      table: scheduleTable,
      weights,
      precision: options.precision ?? "bf16",
    });
  const { vocab } = compiled;
  const { maxContext } = compiled.program.limits;
  return sessionOver(backend, { vocab, maxContext }, compiled.eosIds);
}

async function openGpu(
  compiled: Compiled,
  weights: Weights,
  options: OpenOptions,
): Promise<DeviceBackend> {
  const { source, manifest } = compiled;
  if (source === null || manifest === null) throw new Error("compiled without a target");
  if (options.precision === "f32") {
    throw inputError(
      "--precision f32 needs the virtual GPU: kernels compute in bf16 where the model says so",
      "add --device virtual",
    );
  }
  const { ordinal, watchdogSeconds, onProgress, env, native } = options;
  return openCuda({
    source,
    manifest,
    weights,
    ...(ordinal === undefined ? {} : { ordinal }),
    ...(watchdogSeconds === undefined
      ? {}
      : { watchdogNanos: BigInt(Math.round(watchdogSeconds * 1e9)) }),
    ...(onProgress === undefined ? {} : { onProgress }),
    ...(env === undefined ? {} : { env }),
    ...(native === undefined ? {} : { native }),
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
