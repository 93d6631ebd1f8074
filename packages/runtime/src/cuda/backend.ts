/** @file The CUDA backend: weights packed on the GPU, one cooperative launch per generation. */
import {
  ControlWord, controlWords, lostMillisOf, type Manifest, Status, type Tools, watchdogNanosOf,
} from "@mpk/cuda/manifest";
import {
  turn, type DeviceBackend, type Finish, type Launch, type OnProgress, type Summary,
} from "../backend.ts";
import { explainNoToken, readersOf } from "../culprit.ts";
import {
  bufferBytes, finishOf, launchParams, logitsSteps, mostSteps, pageTableOf,
  promptSteps, type KernelBuffer,
} from "../kernel.ts";
import type { Native } from "../native.ts";
import { readProfile, type Profile } from "../profile.ts";
import type { Weights } from "../weights.ts";
import { buildCubin, cacheFolder } from "./cache.ts";
import { openDevice, type Device, type DevicePointer, type Handle } from "./device.ts";
import type { HostMemory } from "./device.ts";
import { openDriver } from "./driver.ts";
import { checkMemory, checkTarget } from "./fit.ts";
import { lostError, standstill } from "./lost.ts";
import type { Environment } from "./libraries.ts";
import { findCompiler } from "./nvrtc.ts";
import { checkWeights, packScratchBytes, packWeights } from "./pack.ts";
import { allocateProfile, clearProfile, profileParams, type ProfileBuffers } from "./profile.ts";
import { loadTools, type GpuTools } from "./tools.ts";
import { watchdogError } from "./watchdog.ts";

export interface CudaOptions {
  readonly source: string;
  readonly manifest: Manifest;
  readonly weights: Weights;
  /** Makes random weights and cache rows on the GPU, and measures its read bandwidth. */
  readonly tools?: Tools;
  readonly ordinal?: number;
  readonly watchdogNanos?: bigint;
  /** Milliseconds without a step after which the GPU counts as lost; default: see lost.ts. */
  readonly lostMillis?: number;
  readonly onProgress?: OnProgress;
  /** Told, once each, what went wrong without stopping anything, such as a damaged cache. */
  readonly onNotice?: (notice: string) => void;
  readonly env?: Environment;
  readonly native?: Native;
}

/** What stays on the GPU for the life of the session. */
interface Resources {
  readonly device: Device;
  readonly stream: Handle;
  readonly decode: Handle;
  readonly manifest: Manifest;
  /** For reports: they stay open as long as the session. */
  readonly weights: Weights;
  readonly watchdogNanos: bigint;
  readonly lostMillis: number;
  readonly pointers: Readonly<Record<KernelBuffer, DevicePointer>>;
  readonly control: HostMemory;
  readonly events: readonly [start: Handle, end: Handle];
}

/**
 * Opens a GPU, builds the kernel and loads the weights.
 * @throws MpkError: environment (driver, compiler, GPU), input (weights, context), runtime.
 */
export async function openCuda(options: CudaOptions): Promise<DeviceBackend> {
  const { source, manifest, weights, env = process.env, native, onProgress } = options;
  checkWeights(manifest, weights);
  const driver = await openDriver(env, native);
  const device = openDevice(driver, options.ordinal ?? 0);
  try {
    checkTarget(manifest, device.info);
    checkMemory(manifest, device.memory().freeBytes, packScratchBytes(manifest));
    const compiler = await findCompiler(driver.version, env, native);
    onProgress?.({ stage: "compile", done: 0, total: 1 });
    const cubin = await buildCubin(compiler, source, manifest.target, cacheFolder(env));
    onProgress?.({ stage: "compile", done: 1, total: 1 });
    if (cubin.notice !== null) options.onNotice?.(cubin.notice);
    const stream = device.stream();
    const tools = options.tools === undefined
      ? null
      : await loadTools(device, stream, options.tools, compiler, cacheFolder(env));
    const resources = await load(device, stream, cubin.bytes, tools, options);
    return {
      kind: "cuda",
      name: device.info.name,
      run: (launch) => run(resources, launch),
      ...(tools === null ? {} : {
        fillCache: (seed) => tools.fillCache(resources.pointers.kv, manifest.memory.kvBytes, seed),
        readBandwidth: tools.readBandwidth,
        crowd: tools.crowd,
      }),
      freeBytes: () => device.memory().freeBytes,
      close: async () => device.close(),
    };
  } catch (error) {
    closeAfter(device);
    throw error;
  }
}

/** After an error, which is the one to tell. */
function closeAfter(device: Device): void {
  try {
    device.close();
  } catch {
    // Freeing failed too.
  }
}

async function load(
  device: Device,
  stream: Handle,
  cubin: Uint8Array,
  tools: GpuTools | null,
  options: CudaOptions,
): Promise<Resources> {
  const { manifest, weights, onProgress = () => undefined } = options;
  const { entries } = manifest;
  const { watchdogNanos = watchdogNanosOf(manifest.limits) } = options;
  const [decode = 0n, pack = 0n] = device.load(cubin, [entries.decode, entries.pack]);
  const allocated = Object.entries(bufferBytes(manifest)).map(
    ([name, size]) => [name, device.alloc(size, `the ${name} buffer`)] as const,
  );
  const pointers = Object.fromEntries(allocated) as Record<KernelBuffer, DevicePointer>;
  await packWeights(device, stream, manifest, weights, pack, pointers, onProgress, tools);
  const control = device.allocHost(4 * controlWords);
  await uploadInts(device, stream, pageTableOf(manifest), pointers.pageTable);
  return {
    device,
    stream,
    decode,
    manifest,
    weights,
    watchdogNanos,
    lostMillis: options.lostMillis ?? lostMillisOf(manifest.limits, watchdogNanos),
    pointers,
    control,
    events: [device.event(), device.event()],
  };
}

async function uploadInts(device: Device, stream: Handle, values: Int32Array, to: DevicePointer) {
  const pinned = device.allocHost(Math.max(4, values.byteLength));
  new Int32Array(pinned.bytes.buffer).set(values);
  device.upload(to, pinned, 0, values.byteLength, stream);
  const event = device.event();
  device.record(event, stream);
  while (!device.done(event)) await turn();
  device.free(event);
  device.freeHost(pinned);
}

/** Buffers of one generation. */
interface RunBuffers {
  readonly tokens: HostMemory;
  readonly stamps: DevicePointer;
  readonly stampCount: number;
  readonly logits: DevicePointer;
  readonly logitsSteps: number;
  readonly profile: ProfileBuffers;
}

async function* run(r: Resources, launch: Launch): AsyncGenerator<number, Summary, void> {
  const { device, stream, manifest } = r;
  const control = new Uint32Array(r.control.bytes.buffer, 0, controlWords);
  if (device.isLost()) throw lostError(manifest, control, r.lostMillis);
  if (launch.signal.aborted) return stoppedEarly(launch);
  const mark = device.mark();
  let failed = false;
  try {
    const buffers = allocateRun(r, launch);
    await uploadInts(device, stream, Int32Array.from(launch.promptIds), r.pointers.prompt);
    start(r, launch, buffers, control);
    yield* followTokens(r, launch, buffers, control);
    const status = Atomics.load(control, ControlWord.status);
    if (status === Status.watchdog) throw watchdogError(manifest, control);
    if (status === Status.badToken) {
      const step = Atomics.load(control, ControlWord.steps) - 1;
      throw await explainNoToken(readersOf(manifest), r.weights, step);
    }
    const finish = finishOf(status, launch, manifest);
    return await summarize(r, launch, buffers, control, finish);
  } catch (error) {
    failed = true;
    throw error;
  } finally {
    await endRun(r, control, mark, failed);
  }
}

/** However a generation ends: the kernel is told to stop, waited for, and its buffers are freed. */
async function endRun(r: Resources, control: Uint32Array, mark: number, failed: boolean) {
  try {
    const wait = backOff();
    Atomics.store(control, ControlWord.stop, 1);
    const isLost = standstill(control, r.lostMillis);
    while (!r.device.isLost() && !r.device.idle(r.stream)) {
      if (isLost()) throw giveUp(r, control);
      await wait(false);
    }
  } catch (error) {
    // What failed before is the cause of it.
    if (!failed) throw error;
  } finally {
    r.device.freeSince(mark);
  }
}

/** From here on nothing waits for this GPU. */
function giveUp({ device, manifest, lostMillis }: Resources, control: Uint32Array): Error {
  device.abandon();
  return lostError(manifest, control, lostMillis);
}

const stoppedEarly = (launch: Launch): Summary => ({
  finish: "stopped",
  promptTokens: launch.promptIds.length,
  tokens: 0,
  steps: 0,
  millis: 0,
  logits: [],
  stampNanos: [],
});

function allocateRun(r: Resources, launch: Launch): RunBuffers {
  const { device, manifest } = r;
  const stampCount = launch.stamps ? mostSteps(manifest, launch) : 0;
  const kept = logitsSteps(manifest, launch);
  const allocate = (bytes: number, what: string) => (bytes === 0 ? 0n : device.alloc(bytes, what));
  return {
    tokens: device.allocHost(4 * launch.maxTokens),
    stamps: allocate(8 * stampCount, "step times"),
    stampCount,
    logits: allocate(4 * kept * manifest.limits.vocab, `logits of ${kept} steps`),
    logitsSteps: kept,
    profile: allocateProfile(device, manifest, launch.profile),
  };
}

function start(r: Resources, launch: Launch, buffers: RunBuffers, control: Uint32Array): void {
  const { device, stream, manifest, pointers } = r;
  control.fill(0);
  device.clear(pointers.events, manifest.memory.eventBytes, stream);
  device.clear(pointers.steps, manifest.memory.stepBytes, stream);
  const { flags } = manifest.memory;
  if (flags !== undefined) {
    device.fill(pointers.scratch + BigInt(flags.offsetBytes), 0xff, flags.bytes, stream);
  }
  clearProfile(device, buffers.profile, stream);
  const params = launchParams(manifest, launch, {
    ...pointers,
    control: r.control.device,
    tokens: buffers.tokens.device,
    stamps: buffers.stamps,
    logitsLog: buffers.logits,
    watchdogNanos: r.watchdogNanos,
    stampCount: buffers.stampCount,
    ...profileParams(buffers.profile, launch.profile),
  });
  const { blocks, threads, sharedBytes } = manifest.launch;
  device.record(r.events[0], stream);
  device.launch(r.decode, { blocks, threads, sharedBytes, cooperative: true }, [params], stream);
  device.record(r.events[1], stream);
}

/** Yields tokens while the kernel writes them. Who leaves early has `endRun` stop it. */
async function* followTokens(
  r: Resources,
  launch: Launch,
  buffers: RunBuffers,
  control: Uint32Array,
): AsyncGenerator<number, void, void> {
  const tokens = new Int32Array(buffers.tokens.bytes.buffer);
  const stop = () => Atomics.store(control, ControlWord.stop, 1);
  launch.signal.addEventListener("abort", stop);
  // It may have come while the prompt went over, before anyone listened.
  if (launch.signal.aborted) stop();
  let ended = false;
  let given = 0;
  const wait = backOff();
  const isLost = standstill(control, r.lostMillis);
  try {
    while (!ended) {
      // Asked before the count is read, so that no token of a kernel that ended is missed.
      ended = r.device.done(r.events[1]);
      const produced = Atomics.load(control, ControlWord.produced);
      const news = given < produced;
      while (given < produced) yield Atomics.load(tokens, given++);
      if (!ended && isLost()) throw giveUp(r, control);
      if (!ended) await wait(news);
    }
  } finally {
    launch.signal.removeEventListener("abort", stop);
  }
}

/** Polls at every turn of the event loop while tokens come, then sleeps a millisecond at a time. */
function backOff(): (news: boolean) => Promise<void> {
  const eagerTurns = 20;
  let idle = 0;
  return (news) => {
    idle = news ? 0 : idle + 1;
    return idle < eagerTurns ? turn() : new Promise((resolve) => setTimeout(resolve, 1));
  };
}

async function summarize(
  r: Resources,
  launch: Launch,
  buffers: RunBuffers,
  control: Uint32Array,
  finish: Finish,
): Promise<Summary> {
  const steps = Atomics.load(control, ControlWord.steps);
  const { vocab } = r.manifest.limits;
  const stamps = await download(r, buffers.stamps, 8 * Math.min(steps, buffers.stampCount));
  const skip = promptSteps(r.manifest, launch) - 1;
  const kept = Math.max(0, Math.min(steps, buffers.logitsSteps) - skip);
  const from = buffers.logits + BigInt(4 * vocab * skip);
  const logits = new Float32Array((await download(r, from, 4 * vocab * kept)).buffer);
  return {
    finish,
    promptTokens: launch.promptIds.length,
    tokens: Atomics.load(control, ControlWord.produced),
    steps,
    millis: r.device.elapsedMillis(...r.events),
    logits: Array.from({ length: kept }, (_, i) => logits.slice(i * vocab, (i + 1) * vocab)),
    stampNanos: [...new BigUint64Array(stamps.buffer)],
    ...(await profileOf(r, launch, buffers.profile)),
  };
}

async function profileOf(
  r: Resources,
  { profile: wanted }: Launch,
  { times, timesBytes, full, fullBytes }: ProfileBuffers,
): Promise<{ readonly profile?: Profile }> {
  const layout = r.manifest.profile;
  if (wanted === undefined || layout === undefined) return {};
  const words = new Uint32Array((await download(r, times, timesBytes)).buffer);
  const fulls = new Uint32Array((await download(r, full, fullBytes)).buffer);
  return { profile: readProfile(r.manifest, layout, wanted, words, fulls) };
}

/** A copy of device bytes in a buffer of its own. */
async function download(r: Resources, from: DevicePointer, bytes: number): Promise<Uint8Array> {
  if (bytes === 0) return new Uint8Array(0);
  const { device, stream } = r;
  const pinned = device.allocHost(bytes);
  device.download(pinned, from, bytes, stream);
  const event = device.event();
  device.record(event, stream);
  while (!device.done(event)) await turn();
  const copy = pinned.bytes.slice();
  device.free(event);
  device.freeHost(pinned);
  return copy;
}
