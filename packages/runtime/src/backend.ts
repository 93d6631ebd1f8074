/** @file What a device must do for a session: run one prompt at a time, tokens as they come. */
import type { Sampling } from "@mpk/ir";
import type { Profile, ProfileWanted } from "./profile.ts";

/** Which logits to keep: the row after the last prompt token, or that of every step. */
export type LogitsWanted = "none" | "lastPrompt" | "all";

/** One generation, checked: ids are in the vocabulary, the prompt fits the context. */
export interface Launch {
  readonly promptIds: readonly number[];
  /** At least 1; prompt and tokens together fit the context. */
  readonly maxTokens: number;
  readonly sampling: Sampling;
  readonly eosIds: readonly number[];
  readonly logits: LogitsWanted;
  /** Keep the time of every step. */
  readonly stamps: boolean;
  /** Keep the times of every instruction of these steps. */
  readonly profile?: ProfileWanted;
  /** Position of the prompt's first token; the cache's rows before it are as they are. */
  readonly startPosition: number;
  /** When it aborts, the device stops after the current step, cleanly. */
  readonly signal: AbortSignal;
}

/** Why a generation ended. */
export type Finish = "maxTokens" | "eos" | "stopped" | "contextFull";

export interface Summary {
  readonly finish: Finish;
  readonly promptTokens: number;
  /** Tokens generated, an EOS id included. */
  readonly tokens: number;
  readonly steps: number;
  /** Wall-clock of the launch; on a GPU between events around the kernel. */
  readonly millis: number;
  /** With `logits`: rows [vocab] of the steps from the last prompt token's on. */
  readonly logits: readonly Float32Array[];
  /** With `stamps` on a GPU: nanoseconds at the end of each step, by the GPU's clock. */
  readonly stampNanos: readonly bigint[];
  /** With `profile`. */
  readonly profile?: Profile;
}

/** An open device with the model's weights on it. */
export interface DeviceBackend {
  readonly kind: "cuda" | "emulated" | "virtual";
  /** For people, such as `NVIDIA H200`. */
  readonly name: string;
  /** One launch at a time. Yields each token; returning early stops the device cleanly. */
  run(launch: Launch): AsyncGenerator<number, Summary, void>;
  /** Fills the KV cache with reproducible random rows, as if tokens had been read. */
  fillCache?(seed: bigint): Promise<void>;
  /** Bytes a second that memory reads at best. */
  readBandwidth?(): Promise<number>;
  /** Bytes of device memory that nobody holds. */
  freeBytes?(): number;
  /** Starts other kernels on a stream of their own, one after another, until told to stop. */
  crowd?(): Crowd;
  close(): Promise<void>;
}

/** Other work on the same device, which must change nothing but times. */
export interface Crowd {
  /** Kernels that have ended so far. */
  finished(): number;
  /** Waits for what runs. @throws MpkError where one of them failed. */
  stop(): Promise<void>;
}

/** Work of known size that is going on, for progress bars. */
export interface Progress {
  readonly stage: "plan" | "load" | "compile" | "generate";
  readonly done: number;
  readonly total: number;
}

export type OnProgress = (progress: Progress) => void;

/** Lets Node's event loop turn. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
