/** @file What a model is compiled for: the device that is there or asked for, and what was tuned. */
import type { Program } from "@mpk/ir";
import {
  buildCubin, cacheFolder, findCompiler, listDevices, openDriver, type Environment, type Native,
} from "@mpk/runtime";
import { virtual, type Machine, type PlanOptions } from "@mpk/schedule";
import { compile, type Compiled, type CompileOptions } from "./compile.ts";
import { diagnose } from "./doctor.ts";
import type { ModelSource } from "./load.ts";
import { checkSms, defaultTarget, machineOf, machineOfDevice } from "./machine.ts";
import { choiceText } from "./tune/knobs.ts";
import { readTuned } from "./tune/store.ts";

export type DeviceChoice = "auto" | "cuda" | "emulated" | "virtual";

/** A choice made. */
export type Device = Exclude<DeviceChoice, "auto">;

/** Of what `open` takes: what decides how a model is compiled. */
export interface DeviceOptions extends CompileOptions {
  readonly device?: DeviceChoice;
  readonly ordinal?: number;
  readonly tuned?: boolean;
  readonly onNotice?: (notice: string) => void;
  readonly env?: Environment;
  readonly native?: Native;
}

/** SMs of GPUs that are none unless told otherwise: enough for hand-offs, few enough to be quick. */
const virtualSms = 8;

export async function chooseDevice(options: DeviceOptions): Promise<Device> {
  const { device = "auto", env = process.env } = options;
  return device === "auto" ? (await diagnose(env)).uses : device;
}

/** The options that fit the device: its own target and SMs, unless the caller says otherwise. */
export async function compileFor(
  device: Device,
  options: DeviceOptions,
): Promise<CompileOptions> {
  if (device === "virtual") {
    const machine = options.machine ?? virtual(checkSms(options.sms ?? virtualSms));
    return { ...options, target: null, machine };
  }
  if (device === "emulated") {
    const target = options.target ?? defaultTarget;
    return { ...options, target, machine: options.machine ?? machineOf(target, options.sms ?? virtualSms) };
  }
  const driver = await openDriver(options.env ?? process.env, options.native);
  const info = listDevices(driver)[options.ordinal ?? 0];
  if (info === undefined || options.machine !== undefined) return options;
  const { target, machine } = machineOfDevice(info);
  const sms = Math.min(options.sms ?? machine.sms, machine.sms);
  return { ...options, target: options.target ?? target, machine: { ...machine, sms } };
}

/** Compiles with what was tuned, if it still makes a plan that keeps the laws; else without. */
export async function compileTuned(
  source: ModelSource,
  compiling: CompileOptions,
  device: Device,
  { tuned = true, env = process.env, onNotice }: DeviceOptions,
): Promise<Compiled> {
  if (!tuned || device !== "cuda") return compile(source, compiling);
  let choice: PlanOptions | null = null;
  const findPlan = (program: Program, machine: Machine) =>
    (choice = readTuned(program, machine, env, onNotice)?.choice ?? null);
  try {
    const compiled = await compile(source, { ...compiling, findPlan });
    const changes = choice !== null && Object.keys(choice).length > 0;
    if (changes) onNotice?.(`tuned for this GPU: ${choiceText(choice ?? {})}`);
    return compiled;
  } catch (error) {
    if (choice === null) throw error;
    onNotice?.(`what was tuned fits no longer (${choiceText(choice)}): \`mpk tune\` finds it anew`);
    return compile(source, compiling);
  }
}

/**
 * Compiles a model for the GPU at hand as `open` would and builds its kernel, which `open` then finds:
 * the GPU itself is not used. @throws MpkError as `open` does.
 */
export async function prebuild(source: ModelSource, options: DeviceOptions): Promise<Compiled> {
  const { env = process.env, native } = options;
  const compiled = await compileTuned(source, await compileFor("cuda", options), "cuda", options);
  const { source: text, manifest } = compiled;
  if (text === null || manifest === null) throw new Error("compiled without a target");
  const { version } = await openDriver(env, native);
  await buildCubin(await findCompiler(version, env, native), text, manifest.target, cacheFolder(env));
  return compiled;
}
