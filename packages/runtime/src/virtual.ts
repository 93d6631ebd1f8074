/** @file The virtual GPU as a device: the same Plan, executed here, for machines without a GPU. */
import { freemem } from "node:os";
import { NoTokenError, type Precision, type Tensor, type WeightData } from "@mpk/ir";
import type { WeightSource } from "@mpk/ir";
import { createVirtualGpu, type Plan, type ScheduleTable, type VirtualGpu } from "@mpk/schedule";
import { turn, type DeviceBackend, type Finish, type Launch, type Summary } from "./backend.ts";
import { requireWeightDType, toBf16Words, toFloat32 } from "./convert.ts";
import { explainNoToken, type Reader } from "./culprit.ts";
import { environmentError, inputError } from "./errors.ts";
import type { Weights } from "./weights.ts";

export interface VirtualOptions {
  readonly plan: Plan;
  readonly table: ScheduleTable;
  readonly weights: Weights;
  /** `bf16` rounds where the kernel does, `f32` nowhere. */
  readonly precision: Precision;
  /** Interleaves the SMs at random by this seed; default: a fixed order, which is faster. */
  readonly interleaving?: number;
}

/**
 * Opens a virtual GPU with the weights packed as the Plan says.
 * @throws MpkError naming a tensor that is missing or has another shape, or the memory needed.
 */
export async function openVirtual(options: VirtualOptions): Promise<DeviceBackend> {
  const { plan, table, weights, precision, interleaving } = options;
  checkTensors(plan, weights);
  checkMemory(weights, freemem());
  await turn();
  const gpu = createVirtualGpu(plan, table, {
    weights: weightSource(weights),
    precision,
    ...(interleaving === undefined
      ? { interleave: "none" }
      : { interleave: "random", seed: interleaving }),
  });
  return {
    kind: "virtual",
    name: `virtual GPU, ${plan.machine.sms} SMs`,
    run: (launch) => run(gpu, plan, weights, launch),
    close: async () => gpu.reset(),
  };
}

/** The weights' checkpoint tensors have the shapes that the Program gives them. */
function checkTensors(plan: Plan, weights: Weights): void {
  for (const { value, parts } of plan.program.weights) {
    const inner = plan.program.values[value]?.type.shape.slice(1).map(Number) ?? [];
    for (const { tensor, rows } of parts) {
      const found = weights.expect(tensor, [rows, ...inner]);
      requireWeightDType(found.dtype, `${found.file}: tensor "${tensor}"`);
    }
  }
}

/** Every bf16 weight is held twice: as float32 while packing, and packed. */
export function checkMemory(weights: Pick<Weights, "bytes">, freeBytes: number): void {
  const needed = 3 * weights.bytes;
  if (needed <= freeBytes) return;
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  throw environmentError(
    `the virtual GPU needs ${gib(needed)} of memory for these weights, ${gib(freeBytes)} are free`,
    "run on a GPU, or take a smaller model",
  );
}

function weightSource(weights: Weights): WeightSource {
  return (name): WeightData | null => {
    if (!weights.has(name)) return null;
    const stored = weights.tensor(name);
    const dtype = requireWeightDType(stored.dtype, `${stored.file}: tensor "${name}"`);
    const bytes = stored.read();
    // bf16 stays as bits; what is wider is rounded where the Program's weight type says so.
    const data = dtype === "BF16" ? toBf16Words(bytes, dtype) : toFloat32(bytes, dtype);
    return { data, shape: stored.shape };
  };
}

async function* run(
  gpu: VirtualGpu,
  plan: Plan,
  weights: Weights,
  launch: Launch,
): AsyncGenerator<number, Summary, void> {
  refuse(launch);
  gpu.reset();
  const start = performance.now();
  const logits: Float32Array[] = [];
  let tokens = 0;
  let steps = 0;
  let last = -1;
  const stepsOfRun = gpu.run({
    prompt: launch.promptIds,
    maxNew: launch.maxTokens,
    sampling: launch.sampling,
    eos: launch.eosIds,
  });
  // A step is the unit of the event loop too: between steps others get their turn.
  await turn();
  while (!launch.signal.aborted) {
    const next = await advance(stepsOfRun, (cause) =>
      explainNoToken(readersOf(plan), weights, steps, cause));
    if (next.done === true) break;
    steps++;
    const { token, outputs } = next.value;
    if (token !== null) {
      if (wants(launch, logits.length)) logits.push(lastRow(outputs["logits"]));
      tokens++;
      last = token;
      yield token;
    }
    await turn();
  }
  return {
    finish: finishOf(plan, launch, tokens, last),
    promptTokens: launch.promptIds.length,
    tokens,
    steps,
    millis: performance.now() - start,
    logits,
    stampNanos: [],
  };
}

/** What needs a kernel. */
function refuse({ profile, startPosition }: Launch): void {
  const what = profile !== undefined ? "keeps no profile" : "starts at position 0 only";
  if (profile === undefined && startPosition === 0) return;
  throw inputError(`the virtual GPU ${what}`, "run on a GPU");
}

/** One step, or the error that a GPU would end with. */
async function advance<T>(
  run: Iterator<T, void, void>,
  explain: (cause: Error) => Promise<Error>,
): Promise<IteratorResult<T, void>> {
  try {
    return run.next();
  } catch (error) {
    const noToken = error instanceof Error && error.cause instanceof NoTokenError;
    throw noToken ? await explain(error) : error;
  }
}

/** Which op reads which tensor first. */
function readersOf({ program: { ops, weights } }: Plan): readonly Reader[] {
  return ops.flatMap(({ inputs, kind, scope }) =>
    weights.filter(({ value }) => inputs.includes(value)).flatMap(({ parts }) =>
      parts.map(({ tensor }) => ({ tensor, by: `${kind} of ${scope || "the program"}` }))));
}

const wants = ({ logits }: Launch, kept: number): boolean =>
  logits === "all" || (logits === "lastPrompt" && kept === 0);

/** The logits of the step's last token. */
function lastRow(tensor: Tensor | undefined): Float32Array {
  if (!(tensor?.data instanceof Float32Array)) {
    throw new Error("the program has no output named logits");
  }
  const columns = tensor.shape.at(-1) ?? 0;
  return tensor.data.slice(tensor.data.length - columns);
}

function finishOf(plan: Plan, launch: Launch, tokens: number, last: number): Finish {
  if (tokens > 0 && launch.eosIds.includes(last)) return "eos";
  const full = launch.promptIds.length + tokens >= plan.program.limits.maxContext;
  if (tokens === launch.maxTokens) return full ? "contextFull" : "maxTokens";
  return launch.signal.aborted ? "stopped" : "contextFull";
}
