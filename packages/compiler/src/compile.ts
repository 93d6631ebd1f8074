/** @file compile(): from a model to a verified Plan, the CUDA source and its Manifest. */
import { emit, emittedProblems, type Emitted, type Manifest } from "@mpk/cuda";
import { allRanks, rankPasses, runPasses, ShapeError, shard, type Program } from "@mpk/ir";
import type { ModelLimits } from "@mpk/models";
import { bodyTable, mostStepTokens, scheduleTable, semanticsTable } from "@mpk/ops";
import { inputError, MpkError, runtimeError, turn, type OnProgress } from "@mpk/runtime";
import { plan as makePlan, verify } from "@mpk/schedule";
import type { Machine, Plan, PlanOptions, VerifyReport } from "@mpk/schedule";
import { loadModel, type LoadedModel, type ModelSource } from "./load.ts";
import { defaultTarget, machineOf } from "./machine.ts";
import { passesFor, type AttentionChoice } from "./passes.ts";
import { checkDeviceMemory, reportOf, type Report } from "./report.ts";

export interface CompileOptions {
  /** GPU target such as `sm_90a` (the default), or null for a Plan alone. */
  readonly target?: string | null;
  /** SMs to plan for; default: those of the target's usual GPU. */
  readonly sms?: number;
  /** The machine to plan for, in place of `sms` and the target's usual GPU. */
  readonly machine?: Machine;
  /** Longest sequence, tokens; default: what the model was made for, at most 4096. */
  readonly maxContext?: number;
  /** Most prompt tokens in one step; default 8. */
  readonly maxTokens?: number;
  /** GPUs that share the model by columns and rows: planned and verified, not emitted yet; default 1. */
  readonly ranks?: number;
  /** How attention is scheduled; default `auto`. */
  readonly attention?: AttentionChoice;
  /** The kernel keeps the times of its instructions; default: it does not. */
  readonly profile?: boolean;
  /** The planner's choices; default: its own. */
  readonly plan?: PlanOptions;
  /** Choices for a program after all passes, where `plan` gives none; null: the planner's own. */
  readonly findPlan?: (program: Program, machine: Machine) => PlanOptions | null;
  readonly onProgress?: OnProgress;
}

export interface Compiled {
  /** As written. */
  readonly program: Program;
  /** Of the Program after all passes. */
  readonly plan: Plan;
  /** The choices that `findPlan` made for it; null: none. */
  readonly found: PlanOptions | null;
  readonly verification: VerifyReport;
  readonly report: Report;
  /** With a target: the `.cu` file and its Manifest. */
  readonly source: string | null;
  readonly manifest: Manifest | null;
  /** Token ids are below it. */
  readonly vocab: number;
  readonly checkpoint: string | null;
  readonly eosIds: readonly number[];
  /** What the checkpoint's files say that has no effect, as sentences for the user. */
  readonly warnings: readonly string[];
}

/** A Plan that breaks a law: a fault of the compiler, shown with the smallest schedule. */
export class VerificationError extends MpkError {
  readonly report: VerifyReport;

  constructor(report: VerifyReport) {
    const broken = report.laws.flatMap((law) => law.violations);
    const [first] = broken;
    super(
      "runtime",
      `the plan breaks a law (${broken.length} violations): ${first?.message ?? ""}\n` +
        (first?.smallest ?? ""),
      "this is a fault of the scheduler: please report it with the model's config.json",
    );
    this.report = report;
  }
}

/** A model and its unverified Plan, with how long each stage took. */
export interface Planned {
  readonly model: LoadedModel;
  readonly plan: Plan;
  /** Of the planner's choices, those that `findPlan` made; null: none. */
  readonly found: PlanOptions | null;
  readonly millis: Readonly<Record<string, number>>;
}

/** Stages in order, for progress. */
const stages = ["load", "passes", "plan", "verify", "emit"] as const;

/** Times stages as they run, and lets Node's event loop turn between them. */
function stopwatch(onProgress: OnProgress | undefined) {
  const millis: Record<string, number> = {};
  const total = stages.length;
  const timed = async <T>(
    stage: (typeof stages)[number],
    work: () => T | Promise<T>,
  ): Promise<T> => {
    onProgress?.({ stage: "plan", done: stages.indexOf(stage), total });
    await turn();
    const start = performance.now();
    const result = await work();
    millis[stage] = performance.now() - start;
    return result;
  };
  return { millis, timed, finish: () => onProgress?.({ stage: "plan", done: total, total }) };
}

/** Loads a model, runs the passes and plans it. @throws MpkError (input). */
export async function planModel(
  source: ModelSource,
  options: CompileOptions = {},
): Promise<Planned> {
  const { millis, timed } = stopwatch(options.onProgress);
  const machine = options.machine ?? machineOf(options.target ?? defaultTarget, options.sms);
  const model = await timed("load", () => loadModel(source, limitsOf(options)));
  const { program, ranks } = await timed("passes", () => lower(model.program, machine, options));
  const { plan: given, findPlan } = options;
  const found = given === undefined ? findPlan?.(program, machine) ?? null : null;
  const chosen = given ?? found ?? {};
  const shared = ranks === null ? chosen : { ...chosen, ranks };
  const choices = { ...defaultsFor(program, shared), ...shared };
  const plan = await timed("plan", () => makePlan(program, scheduleTable, machine, choices));
  if (ranks === null) checkDeviceMemory(plan);
  return { model, plan, found, millis };
}

/** The program that is planned: all passes behind it, for one GPU or for several side by side. */
function lower(
  program: Program,
  machine: Machine,
  { ranks = 1, attention }: CompileOptions,
): { readonly program: Program; readonly ranks: ReturnType<typeof allRanks> | null } {
  if (ranks === 1) {
    const passes = passesFor(program.limits, machine, attention);
    return { program: runPasses(program, semanticsTable, passes), ranks: null };
  }
  try {
    const one = runPasses(shard(program, ranks, semanticsTable), semanticsTable, rankPasses);
    const all = allRanks(one, ranks, semanticsTable);
    return { program: all.program, ranks: all };
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    throw inputError(error.message, "take a number of ranks that divides heads and hidden sizes", error);
  }
}

/** Mean bytes of weights that one linear layer streams, bf16. */
function bytesOfLinear({ ops, values, weights }: Program): number {
  const isWeight = new Set(weights.map(({ value }) => value));
  const linears = ops.filter(({ kind }) => kind === "linear");
  const bytes = linears.flatMap(({ inputs }) => inputs).map((id) => {
    const shape = values[id]?.type.shape ?? [];
    return isWeight.has(id) && shape.length === 2 ? 2 * Number(shape[0]) * Number(shape[1]) : 0;
  });
  return bytes.reduce((a, b) => a + b, 0) / Math.max(1, linears.length);
}

/**
 * Chunks in flight by the mean bytes of a linear: more of them read faster and slow hand-offs down. Measured
 * on an H200 (docs/performance.md) with 10 MB (Qwen3-0.6B), 31 (Qwen3-1.7B), 38 to 107 (Llama-3.2-1B, -3B,
 * Qwen3-8B) and 428 (a 70B shape).
 */
const chunksInFlight = [
  { below: 2 ** 24, maxInFlight: 4 }, { below: 2 ** 25, maxInFlight: 5 },
  { below: 2 ** 28, maxInFlight: 6 },
] as const;
const mostChunksInFlight = 8;

/**
 * What is chosen where the planner's own choice is the more general one. Flags in the data decode every
 * model faster (docs/performance.md); steps of many tokens, and several ranks, hand over by counters.
 */
function defaultsFor(program: Program, { ranks }: PlanOptions): PlanOptions {
  const bytes = bytesOfLinear(program);
  const found = chunksInFlight.find(({ below }) => bytes < below);
  const flags = ranks === undefined && program.limits.maxTokens <= 8;
  return {
    ...(flags ? { protocol: "flag" } as const : {}),
    maxInFlight: found?.maxInFlight ?? mostChunksInFlight,
  };
}

/**
 * Compiles a model: passes, plan, verification, emission.
 * @throws MpkError (input) for a model that cannot be compiled; VerificationError.
 */
export async function compile(
  source: ModelSource,
  options: CompileOptions = {},
): Promise<Compiled> {
  const target = options.target === undefined ? defaultTarget : options.target;
  if (target !== null) checkStepTokens("--max-tokens-per-step", options.maxTokens ?? 1);
  const { model, plan, found, millis: before } = await planModel(source, options);
  if (target !== null) checkStepTokens("the model's maxTokens", plan.program.limits.maxTokens);
  const { millis, timed, finish } = stopwatch(options.onProgress);
  const verification = await timed("verify", () => verify(plan, scheduleTable));
  if (!verification.ok) throw new VerificationError(verification);
  const emitted = target === null
    ? null
    : await timed("emit", () => emitFor(plan, target, options.profile));
  finish();
  return Object.freeze({
    program: model.program,
    plan,
    found,
    verification,
    report: reportOf(plan, target, { ...before, ...millis }),
    source: emitted?.source ?? null,
    manifest: emitted?.manifest ?? null,
    vocab: vocabOf(plan.program),
    checkpoint: model.checkpoint,
    eosIds: model.eosIds,
    warnings: model.warnings,
  });
}

/** @throws MpkError (input) naming the option or the model's own limit. */
function checkStepTokens(who: string, maxTokens: number): void {
  if (Number.isInteger(maxTokens) && maxTokens >= 1 && maxTokens <= mostStepTokens) return;
  throw inputError(
    `${who} is ${maxTokens}, expected a whole number from 1 to ${mostStepTokens}`,
    "a step of the kernel holds no more; longer prompts take several steps",
  );
}

/** Token ids are rows of the table that the ids look up. */
function vocabOf(program: Program): number {
  const ids = new Set(
    program.values.flatMap(({ id, origin }) =>
      origin.kind === "input" && origin.input === "ids" ? [id] : [],
    ),
  );
  for (const op of program.ops) {
    const at = op.inputs.findIndex((input) => ids.has(input));
    const table = at < 0 ? undefined : program.values[op.inputs[at + 1] ?? -1];
    const rows = table?.type.shape[0];
    if (typeof rows === "number") return rows;
  }
  throw inputError(
    `program ${program.name} looks up no token ids`,
    "begin the model with table.lookup(m.ids())",
  );
}

/** Prompt tokens in one step unless told otherwise: they cost the stream no more than one does. */
const defaultMaxTokens = 8;

/** A step must fit its context, however short that was asked to be. */
function limitsOf({ maxContext, maxTokens }: CompileOptions): ModelLimits {
  if (maxContext === undefined) return maxTokens === undefined ? {} : { maxTokens };
  return { maxContext, maxTokens: maxTokens ?? Math.min(defaultMaxTokens, maxContext) };
}

/**
 * The source of a plan, read back and found to say what the plan says.
 * @throws MpkError naming what cannot be emitted, or what the text says else.
 */
export function emitFor(plan: Plan, target: string, profile = false): Emitted {
  try {
    const emitted = emit(plan, scheduleTable, bodyTable, { target, profile });
    const [problem] = emittedProblems(plan, emitted, scheduleTable, bodyTable);
    if (problem === undefined) return emitted;
    const fix = "this is a fault of the emitter: please report it with the model's config.json";
    throw runtimeError(`the emitted tables are not those of the plan: ${problem}`, fix);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw runtimeError(error.message, "plan for another target, or change the model", error);
  }
}
