/** @file `mpk verify`: proves the laws of a plan, or shows the smallest schedule against one. */
import {
  promelaOf, replayFile, saveCounterexample, shortestCounterexample, verifyModel,
  type CompileOptions, type Plan, type VerifyReport,
} from "@mpk/compiler";
import type { Command } from "commander";
import { wholeFrom } from "../arguments.ts";
import { exitCodes } from "../codes.ts";
import { writeNamed, type Io } from "../io.ts";
import { withBars } from "../progress.ts";
import { verificationText } from "../text.ts";
import { compileOptions, withShape, type ShapeOptions } from "./shared.ts";

const examples = `
Examples:
  $ mpk verify path/to/checkpoint
  $ mpk verify config.json --sms 16
  $ mpk verify config.json --ranks 8      eight GPUs side by side, and every hand-off between them
  $ mpk verify config.json --sms 2 --promela model.pml
  $ mpk verify plan.json                  a plan saved by mpk compile --save-plan
  $ mpk verify plan.json --save-counterexample wrong.json
  $ mpk verify plan.json --replay wrong.json

Exits with 1 when a law is violated, or when the plan still shows the counterexample that is
replayed; with 0 when all laws hold, or the plan does not show it; with 2 when a file is no plan or
no counterexample, or is the counterexample of another plan.`;

interface Options extends ShapeOptions {
  readonly json?: boolean;
  readonly replay?: string;
  readonly saveCounterexample?: string;
  readonly promela?: string;
  readonly ranks?: number;
}

/** `setExit`: a violation is a result, not an error. */
export function verifyCommand(program: Command, io: Io, setExit: (code: number) => void): void {
  const command = program
    .command("verify")
    .description("prove that a plan is free of races and deadlocks, law by law")
    .argument("<model>", "checkpoint folder, config.json, model.ts, saved plan, or a shape by name")
    .option("--save-counterexample <file>", "write the shortest run against a law, if one is violated")
    .option("--replay <file>", "run a saved counterexample on the plan, step by step, instead")
    .option("--json", "print one JSON object")
    .option("--ranks <count>", "GPUs that share the model by columns and rows", wholeFrom(1))
    .option("--promela <file>", "also write the hand-offs of a small plan as a model for SPIN")
    .addHelpText("after", examples);
  withShape(command).action(async (source: string, options: Options) => {
    const { ranks } = options;
    const compiling = { ...compileOptions(options), ...(ranks === undefined ? {} : { ranks }) };
    if (options.replay !== undefined) {
      const shown = await replayTo(io, source, options.replay, compiling, options.json === true);
      if (shown) setExit(exitCodes.failed);
      return;
    }
    const { plan, verification } = await withBars(io, (onProgress) =>
      verifyModel(source, { ...compiling, onProgress }),
    );
    if (options.promela !== undefined) writeNamed(options.promela, promelaOf(plan));
    if (!verification.ok) setExit(exitCodes.failed);
    const { saveCounterexample: file } = options;
    const isSaved = file !== undefined && writeCounterexample(file, plan, verification);
    if (options.json === true) {
      io.stdout.write(`${JSON.stringify(verification, null, 2)}\n`);
      return;
    }
    const { count: tasks } = plan.tasks;
    const { maxTokens, maxContext } = plan.program.limits;
    io.stdout.write(
      `${plan.program.name}: ${tasks} tasks on ${plan.machine.sms} SMs, ` +
        `for every step of 1 to ${maxTokens} tokens and context up to ${maxContext}\n`,
    );
    io.stdout.write(verificationText(verification));
    const took = `in ${(verification.millis / 1000).toFixed(2)} s`;
    const verdict = verification.ok ? `all laws hold (${took})` : `the plan is WRONG (${took})`;
    io.stdout.write(`${verdict}\n`);
    if (isSaved) io.stdout.write(`wrote ${file}: see it with --replay ${file}\n`);
  });
}

/** Tells a replay; true where the plan still goes wrong. */
async function replayTo(
  io: Io,
  source: string,
  file: string,
  options: CompileOptions,
  isJson: boolean,
): Promise<boolean> {
  const replayed = await replayFile(source, file, options);
  const text = isJson
    ? JSON.stringify(replayed, null, 2) : replayed.lines.join("\n");
  io.stdout.write(`${text}\n`);
  return replayed.shown;
}

/** False where all laws hold: there is nothing to write. */
function writeCounterexample(file: string, plan: Plan, report: VerifyReport): boolean {
  const found = shortestCounterexample(plan, report);
  if (found === null) return false;
  writeNamed(file, saveCounterexample(found));
  return true;
}
