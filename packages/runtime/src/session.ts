/** @file A session: a compiled model with its weights on a device, one prompt after another. */
import type { Sampling } from "@mpk/ir";
import type { Crowd, DeviceBackend, Launch, LogitsWanted, Summary } from "./backend.ts";
import { inputError } from "./errors.ts";
import type { ProfileWanted } from "./profile.ts";

export interface GenerateRequest {
  readonly promptIds: readonly number[];
  /** Tokens to generate at most; default: until EOS or the end of the context. */
  readonly maxTokens?: number;
  /** Default: greedy. */
  readonly sampling?: Partial<Sampling>;
  /** Default: the checkpoint's. Empty: go on past EOS. */
  readonly eosIds?: readonly number[];
  readonly logits?: LogitsWanted;
  readonly stamps?: boolean;
  /** Keep the times of every instruction; the model must have been opened with `profile`. */
  readonly profile?: ProfileWanted;
  /**
   * Position of the prompt's first token; default 0. The cache's rows before it are what they are:
   * of the generation before, or `fillCache`'s. For measuring at long contexts without reading one.
   */
  readonly startPosition?: number;
  /** Ends the iteration after the current step; the device stays usable. */
  readonly signal?: AbortSignal;
}

/** Token ids as the device makes them. Iterate once. */
export interface Generation extends AsyncIterable<number> {
  /** After the iteration ended: why, and what it took. Throws before. */
  summary(): Summary;
}

export interface SessionLimits {
  readonly vocab: number;
  readonly maxContext: number;
}

export interface Session extends AsyncDisposable {
  readonly device: { readonly kind: "cuda" | "emulated" | "virtual"; readonly name: string };
  readonly limits: SessionLimits;
  readonly eosIds: readonly number[];
  /**
   * Generates token ids after a prompt, from position 0 unless told otherwise.
   * @throws MpkError (input) for ids outside the vocabulary, a prompt longer than the context,
   *   sampling out of range, or a generation that is still running.
   */
  generate(request: GenerateRequest): Generation;
  /** Fills the KV cache with reproducible random rows. @throws MpkError (input): not on a GPU. */
  fillCache(seed: bigint): Promise<void>;
  /** Bytes a second that memory reads at best, measured now. @throws MpkError: not on a GPU. */
  readBandwidth(): Promise<number>;
  /** Bytes of device memory that nobody holds; null where the device has none of its own. */
  freeBytes(): number | null;
  /** Keeps other kernels running beside. @throws MpkError: not on a GPU opened for measuring. */
  crowd(): Crowd;
  close(): Promise<void>;
}

const greedy: Sampling = { temperature: 0, topK: 0, topP: 1, seed: 0n };

/** A session over an open device. */
export function sessionOver(
  backend: DeviceBackend,
  limits: SessionLimits,
  eosIds: readonly number[],
): Session {
  let running = false;
  let closed = false;
  const generate = (request: GenerateRequest): Generation => {
    if (closed) throw inputError("the session is closed", "open another one");
    const launch = checkRequest(request, limits, eosIds);
    let summary: Summary | undefined;
    async function* tokens() {
      if (running) {
        throw inputError(
          "a generation is still running in this session",
          "finish or abort it first, or open a second session",
        );
      }
      running = true;
      try {
        summary = yield* backend.run(launch);
      } finally {
        running = false;
      }
    }
    return {
      [Symbol.asyncIterator]: tokens,
      summary() {
        if (summary !== undefined) return summary;
        throw inputError("the generation has not ended", "iterate over it first");
      },
    };
  };
  const close = async () => {
    if (closed) return;
    if (running) {
      throw inputError(
        "the session cannot close while a generation runs",
        "iterate it to its end, leave its loop, or abort it first",
      );
    }
    closed = true;
    await backend.close();
  };
  const fillCache = async (seed: bigint) => {
    if (backend.fillCache === undefined) throw inputError(
      `${backend.name} cannot fill its cache at random`, "run on a GPU, or start at position 0",
    );
    await backend.fillCache(seed);
  };
  const readBandwidth = async () => {
    if (backend.readBandwidth !== undefined) return backend.readBandwidth();
    throw inputError(`${backend.name} cannot measure its memory`, "open the model for measuring");
  };
  const crowd = () => {
    if (backend.crowd !== undefined) return backend.crowd();
    throw inputError(
      `${backend.name} runs nothing beside its kernel`, "open the model on a GPU, for measuring",
    );
  };
  const freeBytes = () => backend.freeBytes?.() ?? null;
  const { kind, name } = backend;
  return {
    device: { kind, name }, limits, eosIds, generate, fillCache, readBandwidth, freeBytes, crowd,
    close, [Symbol.asyncDispose]: close,
  };
}

function checkRequest(
  request: GenerateRequest,
  limits: SessionLimits,
  eosIds: readonly number[],
): Launch {
  const { promptIds, signal = new AbortController().signal, startPosition = 0 } = request;
  if (!Number.isInteger(startPosition) || startPosition < 0) {
    throw inputError(`startPosition is ${startPosition}`, "give a whole number from 0");
  }
  checkPrompt(promptIds, startPosition, limits);
  const room = limits.maxContext - startPosition - promptIds.length;
  const { maxTokens = room } = request;
  if (!Number.isInteger(maxTokens) || maxTokens < 1) {
    throw inputError(`maxTokens is ${maxTokens}, expected a whole number from 1`, "ask for one");
  }
  return Object.freeze({
    promptIds,
    maxTokens: Math.min(maxTokens, room),
    sampling: checkSampling({ ...greedy, ...request.sampling }),
    eosIds: request.eosIds ?? eosIds,
    logits: request.logits ?? "none",
    stamps: request.stamps ?? false,
    ...(request.profile === undefined ? {} : { profile: checkProfile(request.profile) }),
    startPosition,
    signal,
  });
}

function checkProfile(wanted: ProfileWanted): ProfileWanted {
  const { firstStep, steps } = wanted;
  if (Number.isInteger(firstStep) && firstStep >= 0 && Number.isInteger(steps) && steps >= 1) {
    return wanted;
  }
  throw inputError(
    `profile asks for ${steps} steps from step ${firstStep}`, "give whole numbers, at least 1 step",
  );
}

function checkPrompt(
  promptIds: readonly number[],
  startPosition: number,
  limits: SessionLimits,
): void {
  if (promptIds.length === 0) {
    throw inputError("the prompt is empty", "give at least one token, such as the BOS token");
  }
  const bad = promptIds.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= limits.vocab);
  if (bad >= 0) {
    throw inputError(
      `prompt token ${bad} is ${promptIds[bad]}, outside the vocabulary 0..${limits.vocab - 1}`,
      "does the tokenizer belong to this model?",
    );
  }
  if (startPosition + promptIds.length >= limits.maxContext) {
    const from = startPosition === 0 ? "" : ` from position ${startPosition} on`;
    throw inputError(
      `the prompt has ${promptIds.length} tokens${from}, the context holds ${limits.maxContext} ` +
        "with at least one generated token",
      "shorten the prompt, or compile with a larger --max-context",
    );
  }
}

function checkSampling(sampling: Sampling): Sampling {
  const { temperature, topK, topP } = sampling;
  const wrong = (name: string, got: number, expected: string) =>
    inputError(`${name} is ${got}, expected ${expected}`, "see `mpk run --help`");
  if (!(temperature >= 0 && temperature < Infinity)) {
    throw wrong("temperature", temperature, "0 (greedy) or more");
  }
  if (!Number.isInteger(topK) || topK < 0) throw wrong("top-k", topK, "a whole number, 0 for off");
  if (!(topP > 0 && topP <= 1)) throw wrong("top-p", topP, "a number in (0, 1], 1 for off");
  return Object.freeze(sampling);
}
