/** @file Measures small models on the GPU at hand, and what the simulator must know of it from that. */
import { buildModel, knownShapes, readConfig } from "@mpk/models";
import { runtimeError } from "@mpk/runtime";
import { gpus, type Gpu, type Plan, type PlanOptions } from "@mpk/schedule";
import type { Program } from "@mpk/ir";
import { fitCosts, predictor, type Observation, type Predicted } from "./fit.ts";

/** A public shape with few of its layers: more bytes than a cache holds, and loaded in a second. */
interface Probe {
  readonly shape: string;
  readonly layers: number;
  readonly plan: PlanOptions;
  /** Not fitted to: it says how far off the result is. */
  readonly heldOut?: boolean;
}

/** Bound by hand-offs, by both, and by bytes; both protocols; fewer bytes in flight. */
const probes: readonly Probe[] = [
  { shape: "qwen3-0.6b", layers: 10, plan: { protocol: "flag" } },
  { shape: "qwen3-0.6b", layers: 10, plan: { protocol: "counter" } },
  { shape: "llama-3.2-1b", layers: 5, plan: { protocol: "flag" } },
  { shape: "llama-3.2-1b", layers: 5, plan: { protocol: "counter" } },
  { shape: "qwen3-8b", layers: 2, plan: { protocol: "flag" } },
  { shape: "qwen3-8b", layers: 2, plan: { protocol: "flag", maxInFlight: 4 } },
  { shape: "qwen3-1.7b", layers: 6, plan: { protocol: "flag" }, heldOut: true },
  { shape: "llama-3.2-3b", layers: 4, plan: { protocol: "flag" }, heldOut: true },
];

/** Rows of the vocabulary: enough to be streamed like a real one's, few enough to load at once. */
const vocab = 32_768;
export const calibrationContext = 64;
export const calibrationTokens = 64;

function programOf({ shape, layers }: Probe): Program {
  const { config } = knownShapes()[shape] ?? {};
  if (config === undefined) throw runtimeError(`no shape ${shape}`, "report this fault of mpk");
  const cut = { ...config, num_hidden_layers: layers, vocab_size: vocab };
  const maxContext = calibrationContext + calibrationTokens + 1;
  return buildModel(readConfig(cut), { maxTokens: 8, maxContext });
}

/** What a GPU measured of a program. */
export interface Measured {
  readonly plan: Plan;
  /** One-token steps behind `calibrationContext` tokens, the median. */
  readonly stepNanos: number;
  /** Best read bandwidth. */
  readonly readBytesPerSecond: number;
  /** What its code was made for. */
  readonly target: string;
}

export interface CalibrateRequest {
  /** Builds a program's kernel, for `measure` to find: all of them at once, before any is measured. */
  build?(program: Program, plan: PlanOptions): Promise<void>;
  measure(program: Program, plan: PlanOptions): Promise<Measured>;
  /** Milliseconds on any clock. */
  now(): number;
  /** For the fit, behind the measurements. */
  readonly fitSeconds: number;
  onMeasured?(name: string, measured: Measured): void;
}

export interface Calibration {
  readonly gpu: Gpu;
  readonly fitted: readonly Predicted[];
  readonly heldOut: readonly Predicted[];
}

/** Measures all probes, then fits. @throws MpkError where the GPU does not measure. */
export async function calibrate(request: CalibrateRequest): Promise<Calibration> {
  const found: { readonly probe: Probe; readonly name: string; readonly measured: Measured }[] = [];
  const made = probes.map((probe) => ({ probe, program: programOf(probe) }));
  await Promise.all(made.map(async ({ probe, program }) => request.build?.(program, probe.plan)));
  for (const { probe, program } of made) {
    const measured = await request.measure(program, probe.plan);
    const choices = Object.values(probe.plan).join(", in flight ");
    const name = `${probe.shape}, ${probe.layers} layers, ${choices}`;
    request.onMeasured?.(name, measured);
    found.push({ probe, name, measured });
  }
  const readBytesPerSecond = Math.max(...found.map(({ measured }) => measured.readBytesPerSecond));
  const observed = (isHeldOut: boolean): readonly Observation[] =>
    found.filter(({ probe }) => (probe.heldOut === true) === isHeldOut)
      .map(({ name, measured: { plan, stepNanos } }) => ({
        name, nanos: stepNanos, context: calibrationContext + calibrationTokens / 2,
        plans: [{ plan: { ...plan, machine: { ...plan.machine, readBytesPerSecond } }, times: 1 }],
      }));
  const [own, others] = [observed(false), observed(true)];
  const until = request.now() + 1000 * request.fitSeconds;
  const constants = fitCosts(own, gpus.h200.constants, () => request.now() < until);
  const machine = { ...found[0]?.measured.plan.machine ?? gpus.h200.machine, readBytesPerSecond };
  const gpu: Gpu = Object.freeze({
    format: "mpk-machine", version: 1, name: machine.name, source: "measured",
    target: found[0]?.measured.target ?? "",
    origin: `mpk calibrate on ${machine.name}: costs fitted to ${own.length} step times`,
    machine, constants,
  });
  return {
    gpu,
    fitted: own.map((one) => predictor(one)(constants)),
    heldOut: others.map((one) => predictor(one)(constants)),
  };
}
