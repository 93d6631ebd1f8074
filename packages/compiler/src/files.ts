/** @file What compiling leaves on disk, and what is read back from there: sources, saved plans. */
import { emitLauncher } from "@mpk/cuda";
import { printProgram } from "@mpk/ir";
import { mostStepTokens, scheduleTable } from "@mpk/ops";
import {
  inputError, kernelResources, messageOf, MpkError, readBounded, type KernelResources,
} from "@mpk/runtime";
import {
  diffPlans, exportPromela, loadPlan, verify, type Plan, type VerifyReport,
} from "@mpk/schedule";
import { emitFor, planModel, type Compiled, type CompileOptions } from "./compile.ts";
import { viewPlan, type PlanView } from "./inspect.ts";
import { isPlanFile, type ModelSource } from "./load.ts";
import { defaultTarget } from "./machine.ts";

/**
 * The files of a compiled model by name: kernel, Manifest, C header and launcher.
 * @throws MpkError (input) where it was compiled without a target.
 */
export function compileFiles(compiled: Compiled): Readonly<Record<string, string>> {
  const { source, manifest } = compiled;
  if (source === null || manifest === null) {
    throw inputError("the model was compiled without a target", "give one, such as sm_90a");
  }
  return {
    "kernel.cu": source,
    "manifest.json": `${JSON.stringify(manifest, null, 1)}\n`,
    ...emitLauncher(manifest),
  };
}

/** Bytes of a saved plan: the largest text that Node holds. An 80-layer plan has a tenth of it. */
const planBytes = 2 ** 29 - 24;

/** Reads a saved plan as untrusted input. @throws MpkError naming the file. */
export function readPlan(path: string): Plan {
  try {
    const plan = loadPlan(new TextDecoder().decode(readBounded(path, planBytes)));
    // Laws are asked for every number of tokens: of a million, that takes for ever.
    const { maxTokens } = plan.program.limits;
    if (maxTokens <= mostStepTokens) return plan;
    throw new RangeError(`tokens <= ${maxTokens}: a step of the kernel has at most ${mostStepTokens}`);
  } catch (error) {
    if (error instanceof MpkError) throw error;
    throw inputError(
      `${path}: ${messageOf(error)}`,
      "save it again with `mpk compile --save-plan`",
      error,
    );
  }
}

/** A saved plan that keeps all laws: what is simulated must be able to run. @throws MpkError (input). */
export function readSoundPlan(path: string): Plan {
  const plan = readPlan(path);
  const broken = verify(plan, scheduleTable).laws.find(({ violations }) => violations.length > 0);
  if (broken === undefined) return plan;
  throw inputError(
    `${path}: breaks the law of ${broken.name}: ${broken.violations[0]?.message ?? "no reason given"}`,
    `see all of it with \`mpk verify ${path}\`, or save the plan again with \`mpk compile --save-plan\``,
  );
}

/** What a saved plan has decided already. */
const planFlags = [
  ["target", "--target"], ["sms", "--sms"], ["machine", "a machine"],
  ["ranks", "--ranks"], ["maxContext", "--max-context"], ["maxTokens", "--max-tokens-per-step"],
] as const satisfies readonly (readonly [keyof CompileOptions, string])[];

/** The Plan of a saved plan or of a model. */
export async function planOf(source: ModelSource, options: CompileOptions): Promise<Plan> {
  if (typeof source === "string" && isPlanFile(source)) {
    const given = planFlags.find(([option]) => options[option] !== undefined);
    if (given === undefined) return readPlan(source);
    throw inputError(
      `${source} is a saved plan: ${given[1]} cannot change it`,
      `leave ${given[1]} out, or name the model that the plan was made from`,
    );
  }
  return (await planModel(source, options)).plan;
}

/**
 * Verifies a saved plan, or that of a model; violations are a result, not an error. A model's plan
 * that holds is emitted too, and what the emitted tables say is compared with it.
 * @throws MpkError where a sound plan cannot be emitted.
 */
export async function verifyModel(
  source: ModelSource,
  options: CompileOptions = {},
): Promise<{ readonly plan: Plan; readonly verification: VerifyReport }> {
  const plan = await planOf(source, options);
  const verification = verify(plan, scheduleTable);
  const target = options.target === undefined ? defaultTarget : options.target;
  const isSaved = typeof source === "string" && isPlanFile(source);
  // The kernel runs on one GPU: a plan of several ranks is not emitted.
  const isOne = (options.ranks ?? 1) === 1;
  if (verification.ok && target !== null && !isSaved && isOne) emitFor(plan, target);
  return { plan, verification };
}

/** A plan's hand-offs as a model for SPIN. @throws PlanError for a plan that is too large for it. */
export const promelaOf = (plan: Plan): string => exportPromela(plan, scheduleTable);

/** The Program's text form and its plan as tables. */
export async function inspectModel(
  source: ModelSource,
  options: CompileOptions = {},
): Promise<{ readonly view: PlanView; readonly text: string }> {
  const plan = await planOf(source, options);
  return { view: viewPlan(plan), text: printProgram(plan.program) };
}

/** What differs between two plans, or those of two models, as lines; none where they are equal. */
export async function diffModels(
  a: ModelSource,
  b: ModelSource,
  options: CompileOptions = {},
): Promise<readonly string[]> {
  return diffPlans(await planOf(a, options), await planOf(b, options));
}

/** Builds the kernel with nvcc, for its registers and spills. */
export function buildForReport(
  compiled: Compiled,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<KernelResources> {
  const { source, manifest } = compiled;
  if (source === null || manifest === null) throw new Error("compiled without a target");
  return kernelResources(source, manifest.target, manifest.entries.decode, env);
}
