/** @file Options that several commands share, and how the compiler is called with them. */
import {
  attentionChoices, compile, type AttentionChoice, type CompileOptions, type Compiled,
} from "@mpk/compiler";
import { Option, type Command } from "commander";
import { wholeFrom } from "../arguments.ts";
import type { Io } from "../io.ts";
import { withBars } from "../progress.ts";

export interface ShapeOptions {
  readonly target?: string;
  readonly sms?: number;
  readonly maxContext?: number;
  readonly maxTokensPerStep?: number;
  readonly attention?: AttentionChoice;
}

/** How attention is scheduled. */
export const attentionOption = (): Option =>
  new Option("--attention <how>", "on an SM a head, split over all SMs, or as the limits ask")
    .choices(attentionChoices);

const code = `
A model.ts is code: naming one runs it, with your rights, before anything is compiled. Checkpoint
folders, config.json and saved plans are data and are never run.`;

/** Adds the options that decide what is compiled. */
export function withShape(command: Command): Command {
  return command
    .addHelpText("after", code)
    .option("--target <name>", "GPU target, such as sm_90a (default), sm_80, sm_100")
    .option("--sms <count>", "SMs to plan for (default: the target's usual GPU)", wholeFrom(1))
    .option("--max-context <tokens>", "longest sequence (default: the model's, at most 4096)",
      wholeFrom(1))
    .option("--max-tokens-per-step <count>", "prompt tokens in one step, 1 to 64 (default 8)", wholeFrom(1))
    .addOption(attentionOption());
}

export function compileOptions(options: ShapeOptions): CompileOptions {
  const { target, sms, maxContext, maxTokensPerStep, attention } = options;
  return {
    ...(target === undefined ? {} : { target }),
    ...(sms === undefined ? {} : { sms }),
    ...(maxContext === undefined ? {} : { maxContext }),
    ...(maxTokensPerStep === undefined ? {} : { maxTokens: maxTokensPerStep }),
    ...(attention === undefined ? {} : { attention }),
  };
}

/** Compiles with a progress bar. */
export const compileWith = (source: string, options: ShapeOptions, io: Io): Promise<Compiled> =>
  withBars(io, (onProgress) => compile(source, { ...compileOptions(options), onProgress }));
