/** @file The measuring kernels on a GPU: random values in place, and how fast memory reads. */
import type { Tools } from "@mpk/cuda/manifest";
import { turn, type Crowd } from "../backend.ts";
import { runtimeError } from "../errors.ts";
import { cacheSpread, keyOf, tensorWord, type Spread } from "../random.ts";
import { buildCubin } from "./cache.ts";
import type { Device, DevicePointer, Handle } from "./device.ts";
import type { CudaCompiler } from "./nvrtc.ts";

export interface GpuTools {
  /** Enqueues `count` random bf16, those of @mpk/runtime's `randomBits` from 0 on. */
  random(at: DevicePointer, count: number, seed: bigint, tensor: string, spread: Spread): void;
  /** Fills a KV arena with random rows. */
  fillCache(at: DevicePointer, bytes: number, seed: bigint): Promise<void>;
  /** Bytes a second, the best of several runs over a buffer far larger than L2. */
  readBandwidth(): Promise<number>;
  /** Fills a buffer of its own with random values, again and again. */
  crowd(): Crowd;
}

/** Runs of the probe; the first also warms up. */
const probeRuns = 8;
/** Read once a run: 80 times an H200's L2. */
const mostProbeBytes = 4 * 2 ** 30;
/** Of the free memory; the rest is the driver's. */
const probeShare = 0.8;
/** More than an H200's L2, so that memory is kept busy too. */
const crowdBytes = 128 * 2 ** 20;
/** Launches of the crowd that wait or run at once: its stream never runs dry. */
const crowdDepth = 4;

/** Builds the kernels and loads them. */
export async function loadTools(
  device: Device,
  stream: Handle,
  tools: Tools,
  compiler: CudaCompiler,
  cache: string,
): Promise<GpuTools> {
  const cubin = await buildCubin(compiler, tools.source, tools.target, cache);
  const entries = [tools.entries.random, tools.entries.probe];
  const [kernel = 0n, probe = 0n] = device.load(cubin.bytes, entries);
  const { sms } = device.info;
  const fill = (
    to: Handle, at: DevicePointer, count: number, seed: bigint, tensor: string, spread: Spread, perSm: number,
  ) => {
    const { center, scale } = spread;
    const [key0, key1] = keyOf(seed);
    const blocks = Math.max(1, Math.min(perSm * sms, Math.ceil(count / 1024)));
    const words = [tensorWord(tensor), key0, key1].map((word) => Uint32Array.of(word));
    const args = [
      BigUint64Array.of(at), BigUint64Array.of(BigInt(count)), ...words,
      Float32Array.of(center), Float32Array.of(scale), Uint32Array.of(blocks),
    ];
    const shape = { blocks, threads: 256, sharedBytes: 0, cooperative: false };
    device.launch(kernel, shape, args, to);
  };
  const random: GpuTools["random"] = (at, count, seed, tensor, spread) =>
    fill(stream, at, count, seed, tensor, spread, 8);
  return {
    random,
    crowd: () => crowdOf(device, (to, at) =>
      // One block an SM: what the megakernel leaves of an SM has room for it.
      fill(to, at, crowdBytes / 2, 3n, "crowd", cacheSpread, 1)),
    async fillCache(at, bytes, seed) {
      random(at, bytes / 2, seed, "kv cache", cacheSpread);
      const event = device.event();
      device.record(event, stream);
      while (!device.done(event)) await turn();
      device.free(event);
    },
    readBandwidth: () => probeBandwidth(device, stream, tools.probe, probe),
  };
}

/** Keeps `start` running on a stream of its own. */
function crowdOf(device: Device, start: (on: Handle, at: DevicePointer) => void): Crowd {
  const on = device.stream();
  const at = device.alloc(crowdBytes, "the kernels beside");
  const events = Array.from({ length: crowdDepth }, () => device.event());
  let [launched, finished, going] = [0, 0, true];
  const keepGoing = async () => {
    while (going || finished < launched) {
      const next = events[launched % crowdDepth];
      const oldest = events[finished % crowdDepth];
      if (finished < launched && oldest !== undefined && device.done(oldest)) finished++;
      if (going && launched - finished < crowdDepth && next !== undefined) {
        start(on, at);
        device.record(next, on);
        launched++;
      }
      await turn();
    }
  };
  const ended = keepGoing();
  // Told by `stop`.
  ended.catch(() => undefined);
  return {
    finished: () => finished,
    async stop() {
      going = false;
      await ended;
      for (const event of events) device.free(event);
      device.free(at);
      device.free(on);
    },
  };
}

async function probeBandwidth(
  device: Device,
  stream: Handle,
  { chunkBytes, sharedBytes, threads }: Tools["probe"],
  kernel: Handle,
): Promise<number> {
  const { sms } = device.info;
  const room = Math.min(mostProbeBytes, device.memory().freeBytes * probeShare);
  const chunks = Math.floor(room / sms / chunkBytes);
  const bytes = chunks * chunkBytes * sms;
  if (bytes < 4 * device.info.l2Bytes) {
    throw runtimeError(
      `the read probe has ${bytes} bytes of GPU memory, too few beside an L2 of ` +
        `${device.info.l2Bytes}`,
      "free memory on the GPU",
    );
  }
  const buffer = device.alloc(bytes, "the read probe");
  const events = [device.event(), device.event()] as const;
  try {
    device.clear(buffer, bytes, stream);
    let best = Infinity;
    for (let i = 0; i < probeRuns; i++) {
      device.record(events[0], stream);
      const shape = { blocks: sms, threads, sharedBytes, cooperative: false };
      device.launch(kernel, shape, [BigUint64Array.of(buffer), Uint32Array.of(chunks)], stream);
      device.record(events[1], stream);
      while (!device.done(events[1])) await turn();
      best = Math.min(best, device.elapsedMillis(...events));
    }
    return (bytes / best) * 1000;
  } finally {
    device.free(events[0]);
    device.free(events[1]);
    device.free(buffer);
  }
}
