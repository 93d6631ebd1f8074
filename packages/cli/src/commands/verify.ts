/** @file `mpk verify`: proves the laws of a plan, or shows the smallest schedule against one. */
import { verifyModel } from "@mpk/compiler";
import type { Command } from "commander";
import { exitCodes } from "../codes.ts";
import type { Io } from "../io.ts";
import { withBars } from "../progress.ts";
import { verificationText } from "../text.ts";
import { compileOptions, withShape, type ShapeOptions } from "./shared.ts";

const examples = `
Examples:
  $ mpk verify path/to/checkpoint
  $ mpk verify config.json --sms 16
  $ mpk verify plan.json                  a plan saved by mpk compile --save-plan

Exits with 1 when a law is violated.`;

/** `setExit`: a violation is a result, not an error. */
export function verifyCommand(program: Command, io: Io, setExit: (code: number) => void): void {
  const command = program
    .command("verify")
    .description("prove that a plan is free of races and deadlocks, law by law")
    .argument("<model>", "checkpoint folder, config.json, model.ts, or a saved plan")
    .option("--json", "print one JSON object")
    .addHelpText("after", examples);
  withShape(command).action(async (source: string, options: ShapeOptions & { json?: boolean }) => {
    const { plan, verification } = await withBars(io, (onProgress) =>
      verifyModel(source, { ...compileOptions(options), onProgress }),
    );
    if (!verification.ok) setExit(exitCodes.failed);
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
  });
}
