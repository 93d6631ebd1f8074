/** @file Exit codes, and how an error is told: what, then the fix, never a stack trace. */
import { MpkError, type ErrorCategory } from "@mpk/runtime";
import type { Io } from "./io.ts";

export const exitCodes = {
  ok: 0,
  failed: 1,
  badInput: 2,
  environment: 3,
  interrupted: 130,
} as const;

export const exitCodesHelp = `
Exit codes:
  0    success
  1    a law of the plan is violated, or the kernel failed
  2    bad input: an argument, a file or a checkpoint
  3    this machine lacks something: driver, GPU, compiler
  130  interrupted (Ctrl-C); what was running has stopped cleanly`;

const byCategory = {
  input: exitCodes.badInput,
  environment: exitCodes.environment,
  runtime: exitCodes.failed,
} as const satisfies Record<ErrorCategory, number>;

/** The user interrupted before there was anything to stop. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}

/** Errors of the libraries below whose messages stand on their own: the model is at fault. */
const modelErrors = new Set([
  "ConfigError", "ShapeError", "ProgramError", "PlanError", "WeightError", "ParseError",
]);

/** Tells an error on stderr and gives the exit code. */
export function tell(error: unknown, io: Io): number {
  if (io.env["MPK_DEBUG"] === "1" && error instanceof Error) {
    io.stderr.write(`${error.stack ?? error.message}\n`);
  }
  if (error instanceof Interrupted) {
    io.stderr.write("interrupted\n");
    return exitCodes.interrupted;
  }
  if (error instanceof MpkError) {
    io.stderr.write(`error: ${error.message}\n  fix: ${error.fix}\n`);
    return byCategory[error.category];
  }
  if (error instanceof Error && modelErrors.has(error.name)) {
    io.stderr.write(`error: ${error.message}\n`);
    return exitCodes.badInput;
  }
  const text = error instanceof Error ? error.message : String(error);
  io.stderr.write(
    `error: ${text}\n  fix: this is a fault of mpk: please report it (MPK_DEBUG=1 shows where)\n`,
  );
  return exitCodes.failed;
}
