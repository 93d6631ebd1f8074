/** @file A model's page: its plan, the step as predicted, and profiles of it. */
import { existsSync, statSync } from "node:fs";
import { extname, isAbsolute, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { scheduleTable } from "@mpk/ops";
import { inputError, readBounded, readProfileFile, type ProfileFile } from "@mpk/runtime";
import { simulate, type Gpu, type Plan, type PlanOptions } from "@mpk/schedule";
import { planOf, readSoundPlan } from "../files.ts";
import { isPlanFile } from "../load.ts";
import { spreadOfTimes } from "../bench/statistics.ts";
import { windowOf } from "../profile/index.ts";
import { contextOf, planSetting, sourceNamed, titleNamed } from "../simulate/model.ts";
import { profileOf } from "../simulate/profile.ts";
import { runOf, viewData, type ViewData, type ViewRun } from "./data.ts";
import { requireSamePlan } from "./same.ts";

export interface ViewOptions {
  readonly gpu: Gpu;
  /** Positions in the cache; default: the first profile's, or 128, or what the model holds. */
  readonly context?: number;
  /** Files of profiles, shown below the prediction, in this order. */
  readonly profiles?: readonly string[];
  /** Which step of each profile; default: the one whose length is in the middle. */
  readonly step?: number;
}

/**
 * What the page of `mpk view` shows: a model's predicted step, and the profiles given beside it.
 * @throws MpkError (input) for a file that is no profile, or one of another plan.
 */
export async function viewModel(model: string, options: ViewOptions): Promise<ViewData> {
  const files = (options.profiles ?? []).map((path) => [path, readProfileFile(path)] as const);
  const first = files[0]?.[1];
  const asked = options.context ?? first?.context;
  const plan = await planFor(model, first, options.gpu, asked);
  const context = contextOf(plan, asked);
  for (const [path, profile] of files) requireSamePlan(plan, profile, path);
  const { gpu } = options;
  const simulation = simulate(plan, scheduleTable, gpu.constants, { context, record: true });
  const predicted = runOf(plan, profileOf(plan, simulation), 0, {
    label: "predicted", kind: "predicted",
    detail: `${plan.machine.name}, costs of ${gpu.name} (${gpu.source}), context ${context}`,
  }, simulation.recording);
  const runs = files.map(([path, profile]) => runOfFile(plan, path, profile, options.step));
  return viewData(titleNamed(model), plan, [predicted, ...runs], sourcesOf(plan));
}

/** The plan that a profile is of, as far as its file says from what it was made. */
async function planFor(
  model: string,
  profile: ProfileFile | undefined,
  gpu: Gpu,
  context: number | undefined,
): Promise<Plan> {
  const setting = profile?.setting;
  if (setting === null || setting === undefined) {
    return planSetting({ model, gpu, plan: {}, ...(context === undefined ? {} : { context }) });
  }
  const { machine, target, maxContext, maxTokens } = setting;
  const source = sourceNamed(model, { maxContext, maxTokens });
  if (typeof source === "string" && isPlanFile(source)) return readSoundPlan(source);
  const chosen = Object.keys(setting.plan).length > 0 ? { plan: setting.plan as PlanOptions } : {};
  return planOf(source, { target, machine, maxContext, maxTokens, ...chosen });
}

function runOfFile(
  plan: Plan,
  path: string,
  profile: ProfileFile,
  asked: number | undefined,
): ViewRun {
  const { steps } = profile;
  const lengths = steps.map((step, i) => {
    const { from, to } = windowOf(step, steps[i + 1]);
    return to - from;
  });
  const middle = spreadOfTimes(lengths).p50;
  const nearest = lengths.reduce((best, length, i) =>
    Math.abs(length - middle) < Math.abs((lengths[best] ?? 0) - middle) ? i : best, 0);
  const index = asked ?? nearest;
  if (index >= steps.length) {
    throw inputError(`${path}: has ${steps.length} steps, no step ${index}`, "give a smaller --step");
  }
  const { simulated, device, context } = profile;
  const isMeasured = simulated === null || simulated === undefined;
  const which = `step ${index + 1} of ${steps.length}`;
  return runOf(plan, profile, index, {
    label: isMeasured ? "measured" : "simulated before",
    kind: isMeasured ? "measured" : "predicted",
    detail: `${device}, context ${context}, ${which}`,
  });
}

const sourceBytes = 2 ** 20;

/** A saved plan may name any file: none outside of this folder is shown. */
const isInside = (path: string): boolean => !isAbsolute(path) && !normalize(path).startsWith("..");

/** Where a file that a call site names is: in this folder, or in the package of our models. */
function fileOf(path: string): string | null {
  if (!isInside(path) || !/^\.[cm]?[jt]s$/.test(extname(path))) return null;
  const own = /^@mpk\/models\/(.*)$/.exec(path)?.[1];
  if (own === undefined) return path;
  return fileURLToPath(new URL(`../${normalize(own)}`, import.meta.resolve("@mpk/models")));
}

/** TypeScript that ops were written in, where it is here. */
function sourcesOf(plan: Plan): Readonly<Record<string, string>> {
  const paths = new Set(plan.program.ops.flatMap(({ site }) => site === null ? [] : [site.file]));
  const texts = [...paths].flatMap((path) => {
    const file = fileOf(path);
    const isHere = file !== null && existsSync(file) && statSync(file).isFile();
    if (!isHere || statSync(file).size > sourceBytes) return [];
    return [[path, new TextDecoder().decode(readBounded(file, sourceBytes))] as const];
  });
  return Object.fromEntries(texts);
}
