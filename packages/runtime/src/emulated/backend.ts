/** @file The emulated GPU as a device: the emitted source itself, run by this machine's CPU. */
import { ControlWord, controlWords, type Manifest, Status, watchdogNanosOf } from "@mpk/cuda/manifest";
import type { DeviceBackend, Launch, OnProgress, Summary } from "../backend.ts";
import type { Environment } from "../cuda/libraries.ts";
import { checkProfile, noProfile, profileParams, type ProfileBuffers } from "../cuda/profile.ts";
import { watchdogError } from "../cuda/watchdog.ts";
import { explainNoToken, readersOf } from "../culprit.ts";
import { environmentError } from "../errors.ts";
import {
  bufferBytes, finishOf, launchParams, logitsSteps, pageTableOf, promptSteps,
  type KernelBuffer,
} from "../kernel.ts";
import { profileRoom, readProfile, type Profile } from "../profile.ts";
import type { Weights } from "../weights.ts";
import { buildEmulator, type Instrument, type SourceFile } from "./build.ts";
import { Answer, Request, startEmulator, type EmulatorProcess } from "./child.ts";
import { checkEmulatedWeights, loadWeights } from "./load.ts";

export interface EmulatedOptions {
  readonly source: string;
  readonly manifest: Manifest;
  readonly weights: Weights;
  /** `emulatorFiles()` of @mpk/cuda. */
  readonly files: readonly SourceFile[];
  /**
   * Chooses which GPU thread runs next, and when copies end; the same seed gives the same run. 0
   * (the default): each thread runs until it must wait, which is fastest.
   */
  readonly scheduleSeed?: number;
  /** What to watch the kernel for; default nothing. */
  readonly instrument?: Instrument;
  /** In the emulated GPU's own time. */
  readonly watchdogNanos?: bigint;
  readonly onProgress?: OnProgress;
  readonly env?: Environment;
}

/** A buffer in the emulated device's memory. */
export interface EmulatedBuffer {
  readonly which: number;
  readonly address: bigint;
  readonly bytes: number;
}

/** Makes a buffer; messages call it `name`. */
export type Allocate = (bytes: number, name: string) => Promise<EmulatedBuffer>;

export const bytesOf = (view: ArrayBufferView): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** The next answer, which must be of this kind. */
export async function expectAnswer(child: EmulatorProcess, kind: number): Promise<Uint8Array> {
  const message = await child.receive();
  if (message.kind === kind) return message.payload;
  throw new Error(`the emulator answered ${message.kind} where ${kind} was due`);
}

interface Emulated {
  readonly child: EmulatorProcess;
  readonly options: EmulatedOptions;
  readonly allocate: Allocate;
  readonly buffers: Readonly<Record<BufferName, EmulatedBuffer>>;
}

type BufferName = KernelBuffer | "control";

/**
 * Builds the source for this CPU and loads the weights.
 * @throws MpkError: environment (no C++ compiler), input (weights), runtime (does not compile).
 */
export async function openEmulated(options: EmulatedOptions): Promise<DeviceBackend> {
  const { manifest, weights, onProgress = () => undefined, env = process.env } = options;
  if (process.platform === "win32") {
    throw environmentError("the emulated GPU needs Linux or macOS", "use --device virtual");
  }
  checkEmulatedWeights(manifest, weights);
  onProgress({ stage: "compile", done: 0, total: 1 });
  const path = await buildEmulator({
    source: options.source,
    target: manifest.target,
    files: options.files,
    instrument: options.instrument ?? "none",
    env,
  });
  onProgress({ stage: "compile", done: 1, total: 1 });
  const child = startEmulator(path, options.source);
  try {
    const emulated = await load(child, options);
    return {
      kind: "emulated",
      name: `emulated ${manifest.target}, ${manifest.launch.blocks} SMs`,
      run: (launch) => run(emulated, launch),
      close: () => child.close(),
    };
  } catch (error) {
    await child.close();
    throw error;
  }
}

/** Gives out buffers; the process numbers them in the order of the requests. */
function allocator(child: EmulatorProcess): Allocate {
  let count = 0;
  return async (bytes, name) => {
    const which = count++;
    const size = bytesOf(BigUint64Array.of(BigInt(bytes)));
    await child.send(Request.allocate, 0, size, new TextEncoder().encode(name));
    const answer = await expectAnswer(child, Answer.address);
    return { which, bytes, address: new DataView(answer.buffer).getBigUint64(0, true) };
  };
}

async function load(child: EmulatorProcess, options: EmulatedOptions): Promise<Emulated> {
  const { manifest, weights, onProgress = () => undefined } = options;
  const sizes: Record<BufferName, number> = { ...bufferBytes(manifest), control: 4 * controlWords };
  const allocate = allocator(child);
  const made: (readonly [string, EmulatedBuffer])[] = [];
  for (const [name, bytes] of Object.entries(sizes)) made.push([name, await allocate(bytes, name)]);
  const buffers = Object.fromEntries(made) as Record<BufferName, EmulatedBuffer>;
  await loadWeights(child, allocate, manifest, weights, buffers, onProgress);
  await write(child, buffers.pageTable, pageTableOf(manifest));
  return { child, options, allocate, buffers };
}

/** Writes to a buffer from its first byte on, or from `offset`. */
export async function write(
  child: EmulatorProcess,
  to: EmulatedBuffer,
  values: ArrayBufferView,
  offset = 0,
): Promise<void> {
  await child.send(
    Request.write, to.which, bytesOf(BigUint64Array.of(BigInt(offset))), bytesOf(values),
  );
}

const clear = (child: EmulatorProcess, buffer: EmulatedBuffer): Promise<void> =>
  child.send(Request.fill, buffer.which, bytesOf(Uint32Array.of(0)));

async function readBytes(
  child: EmulatorProcess,
  from: EmulatedBuffer,
  offset: number,
  bytes: number,
): Promise<Uint8Array> {
  const range = BigUint64Array.of(BigInt(offset), BigInt(bytes));
  await child.send(Request.read, from.which, bytesOf(range));
  return await expectAnswer(child, Answer.bytes);
}

async function* run(e: Emulated, launch: Launch): AsyncGenerator<number, Summary, void> {
  const { child, options: { manifest } } = e;
  const start = performance.now();
  const keptSteps = logitsSteps(manifest, launch);
  const tokens = await e.allocate(4 * launch.maxTokens, "tokens");
  const logits = await e.allocate(4 * keptSteps * manifest.limits.vocab, "logitsLog");
  const profile = await profileBuffers(e, launch);
  try {
    await begin(e, launch, { tokens, logits, profile });
    const given = yield* follow(child, launch);
    const words = await readBytes(child, e.buffers.control, 0, 4 * controlWords);
    const control = new Uint32Array(words.buffer);
    const status = control[ControlWord.status] ?? 0;
    if (status === Status.watchdog) throw watchdogError(manifest, control);
    const done = control[ControlWord.steps] ?? 0;
    if (status === Status.badToken) {
      throw await explainNoToken(readersOf(manifest), e.options.weights, done - 1);
    }
    return {
      finish: finishOf(status, launch, manifest),
      promptTokens: launch.promptIds.length,
      tokens: given,
      steps: done,
      millis: performance.now() - start,
      logits: await logitsOf(e, launch, logits, Math.min(done, keptSteps)),
      stampNanos: [],
      ...(await profileOf(e, launch, profile)),
    };
  } finally {
    for (const buffer of [tokens, logits, ...(profile.buffers ?? [])]) {
      await child.send(Request.free, buffer.which);
    }
  }
}

/** Rows of the steps from the last prompt token's on, of `steps` that were kept. */
async function logitsOf(
  { child, options: { manifest } }: Emulated,
  launch: Launch,
  logits: EmulatedBuffer,
  steps: number,
): Promise<readonly Float32Array[]> {
  const skip = promptSteps(manifest, launch) - 1;
  const rowBytes = 4 * manifest.limits.vocab;
  const kept = Math.max(0, steps - skip);
  if (kept === 0) return [];
  const rows = await readBytes(child, logits, rowBytes * skip, rowBytes * kept);
  return Array.from({ length: kept }, (_, i) =>
    new Float32Array(rows.slice(i * rowBytes, (i + 1) * rowBytes).buffer));
}

interface EmulatedProfile extends ProfileBuffers {
  readonly buffers: readonly [times: EmulatedBuffer, full: EmulatedBuffer] | null;
}

/** Times are the emulator's own: their order is a GPU's, their lengths are not. */
async function profileBuffers(e: Emulated, { profile: wanted }: Launch): Promise<EmulatedProfile> {
  const { manifest } = e.options;
  checkProfile(manifest, wanted);
  if (wanted === undefined || manifest.profile === undefined) return { ...noProfile, buffers: null };
  const room = profileRoom(manifest.profile, manifest.launch.blocks, wanted);
  const times = await e.allocate(room.timesBytes, "profile");
  const full = await e.allocate(room.fullBytes, "profileFull");
  for (const buffer of [times, full]) await clear(e.child, buffer);
  return { ...room, times: times.address, full: full.address, buffers: [times, full] };
}

async function profileOf(
  e: Emulated,
  { profile: wanted }: Launch,
  { buffers }: EmulatedProfile,
): Promise<{ readonly profile?: Profile }> {
  const { manifest } = e.options;
  if (wanted === undefined || manifest.profile === undefined || buffers === null) return {};
  const [times, full] = buffers;
  const words = async (of: EmulatedBuffer) =>
    new Uint32Array((await readBytes(e.child, of, 0, of.bytes)).slice().buffer);
  return {
    profile: readProfile(manifest, manifest.profile, wanted, await words(times), await words(full)),
  };
}

/** Buffers of one generation. */
interface RunBuffers {
  readonly tokens: EmulatedBuffer;
  readonly logits: EmulatedBuffer;
  readonly profile: EmulatedProfile;
}

async function begin(
  e: Emulated,
  launch: Launch,
  { tokens, logits, profile }: RunBuffers,
): Promise<void> {
  const { child, buffers, options } = e;
  const { manifest } = options;
  await write(child, buffers.prompt, Int32Array.from(launch.promptIds));
  for (const each of [buffers.control, buffers.events, buffers.steps]) await clear(child, each);
  const { flags } = options.manifest.memory;
  if (flags !== undefined) {
    const absent = new Uint8Array(flags.bytes).fill(0xff);
    await write(child, buffers.scratch, absent, flags.offsetBytes);
  }
  const pointers = Object.fromEntries(
    Object.entries(buffers).map(([name, { address }]) => [name, address] as const),
  );
  const params = launchParams(manifest, launch, {
    ...pointers,
    tokens: tokens.address,
    stamps: 0n,
    logitsLog: logits.bytes === 0 ? 0n : logits.address,
    watchdogNanos: options.watchdogNanos ?? watchdogNanosOf(manifest.limits),
    ...profileParams(profile, launch.profile),
    stampCount: 0,
  });
  const { blocks, threads, sharedBytes } = manifest.launch;
  const shape = Uint32Array.of(blocks, threads, sharedBytes, 0);
  const seedWord = BigUint64Array.of(BigInt(options.scheduleSeed ?? 0));
  await child.send(Request.launch, 0, bytesOf(shape), bytesOf(seedWord), params);
}

/** Yields tokens as they come, until the launch is done; leaving early stops it. */
async function* follow(
  child: EmulatorProcess,
  launch: Launch,
): AsyncGenerator<number, number, void> {
  const stop = () => void child.send(Request.stop, 0);
  launch.signal.addEventListener("abort", stop);
  if (launch.signal.aborted) stop();
  let given = 0;
  let done = false;
  try {
    for (;;) {
      const { kind, payload } = await child.receive().catch((error: unknown) => {
        done = true;
        throw error;
      });
      if (kind === Answer.done) {
        done = true;
        return given;
      }
      given++;
      yield new DataView(payload.buffer).getInt32(0, true);
    }
  } finally {
    launch.signal.removeEventListener("abort", stop);
    if (!done) {
      stop();
      while ((await child.receive()).kind !== Answer.done);
    }
  }
}
