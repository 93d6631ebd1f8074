/** @file A model's step on a GPU that need not be here: planned for it, then simulated. */
import { buildModel, readConfig } from "@mpk/models";
import { scheduleTable } from "@mpk/ops";
import { inputError, messageOf, readBounded } from "@mpk/runtime";
import {
  findGpu, gpus, readGpu, simulate, type Gpu, type Plan, type PlanOptions, type Simulation,
} from "@mpk/schedule";
import { existsSync } from "node:fs";
import { planOf, readSoundPlan } from "../files.ts";
import { isPlanFile, loadModel, type ModelSource } from "../load.ts";
import type { AttentionChoice } from "../passes.ts";
import { noSuchModel, shapeNamed } from "../shape.ts";

/** What a simulation starts from; `what if` changes a part of it. */
export interface Setting {
  /** A saved plan, a model's path, or a public shape by its name. */
  readonly model: string;
  readonly gpu: Gpu;
  /** Positions in the KV cache before the step; default: 128, or what a smaller model holds. */
  readonly context?: number;
  readonly plan: PlanOptions;
  readonly attention?: AttentionChoice;
}

export interface SimulatedStep {
  readonly setting: Setting & { readonly context: number };
  readonly plan: Plan;
  readonly simulation: Simulation;
}

/** A machine file is a page of text. */
const gpuBytes = 65_536;

/** A GPU by name, or of a file of `mpk calibrate`. @throws MpkError (input). */
export function gpuNamed(name: string): Gpu {
  if (Object.hasOwn(gpus, name)) return findGpu(name);
  const known = `one of ${Object.keys(gpus).join(", ")}, or a file such as mpk calibrate writes`;
  if (!existsSync(name)) throw inputError(`--machine ${name}: no such machine or file`, `name ${known}`);
  try {
    return readGpu(new TextDecoder().decode(readBounded(name, gpuBytes)));
  } catch (error) {
    throw inputError(`${name}: ${messageOf(error)}`, `name ${known}`, error);
  }
}

/** What a name stands for: a public shape, or a path as it is. */
export function sourceNamed(
  name: string,
  limits: { readonly maxContext: number; readonly maxTokens?: number },
): ModelSource {
  if (existsSync(name)) return name;
  const shape = shapeNamed(name);
  if (shape !== undefined) return buildModel(readConfig(shape.config), { maxTokens: 8, ...limits });
  throw noSuchModel(name, "a checkpoint folder, a config.json, a model.ts, a saved plan");
}

/** A model as people write it: a shape's title, else the last part of its path. */
export function titleNamed(name: string): string {
  const known = shapeNamed(name);
  if (known !== undefined) return known.title;
  return name.replace(/\/+$/, "").replace(/\/config\.json$/, "").split("/").at(-1) ?? name;
}

/** Positions before a step where nobody says how many. */
const usualContext = 128;

/** The longest sequence to plan for: `wanted`, or what the model holds if that is less. */
export async function contextUpTo(wanted: number, model: string): Promise<number> {
  if (!existsSync(model) || isPlanFile(model)) return wanted;
  return Math.min(wanted, (await loadModel(model, {})).program.limits.maxContext);
}

/** Positions before a step of a plan. @throws MpkError (input) for more than its cache holds. */
export function contextOf({ program }: Plan, asked: number | undefined): number {
  const most = program.limits.maxContext - 1;
  if (asked === undefined) return Math.min(usualContext, most);
  if (asked <= most) return asked;
  throw inputError(
    `${asked} tokens before the step: the plan is for sequences of ${most + 1}, the step's token included`,
    "give a smaller --context",
  );
}

/** The plan of a setting. @throws MpkError (input); PlanError. */
export async function planSetting({ model, gpu, context, plan, attention }: Setting): Promise<Plan> {
  const maxContext = context === undefined ? await contextUpTo(usualContext + 1, model) : context + 1;
  const limits = { maxContext };
  const source = sourceNamed(model, limits);
  if (typeof source === "string" && isPlanFile(source)) return readSoundPlan(source);
  // The planner's own defaults, unless something is chosen.
  const chosen = Object.keys(plan).length > 0 ? { plan } : {};
  return planOf(source, {
    target: gpu.target, machine: gpu.machine, ...limits, ...chosen,
    ...(attention === undefined ? {} : { attention }),
  });
}

/**
 * Simulates a setting's step. `saved` is the plan of the setting's file, if that is a saved plan which has
 * been read and proven already: no change to a setting changes it.
 * @throws MpkError (input) for a model or GPU that cannot be.
 */
export async function simulateSetting(
  setting: Setting, record = false, saved: Plan | null = null,
): Promise<SimulatedStep> {
  const plan = saved !== null && isPlanFile(setting.model) ? saved : await planSetting(setting);
  const { gpu } = setting;
  const context = contextOf(plan, setting.context);
  const simulation = simulate(plan, scheduleTable, gpu.constants, { context, record });
  return { setting: { ...setting, context }, plan, simulation };
}
