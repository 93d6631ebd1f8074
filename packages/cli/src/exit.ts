/** @file How an error is told: what, then the fix, never a stack trace; and its exit code. */
import { MpkError, type ErrorCategory } from "@mpk/runtime";
import { exitCodes } from "./codes.ts";
import type { Io } from "./io.ts";

const byCategory = {
  input: exitCodes.badInput,
  environment: exitCodes.environment,
  runtime: exitCodes.failed,
} as const satisfies Record<ErrorCategory, number>;

/** Errors of the libraries below whose messages stand on their own: the model is at fault. */
const modelErrors = new Set([
  "ConfigError", "ShapeError", "ProgramError", "PlanError", "WeightError", "ParseError",
]);

/** Names from files must not steer the terminal: control characters are shown as U+FFFD. */
const plain = (text: string): string => text.replaceAll(/[^\P{Cc}\n\t]/gu, "\uFFFD");

/** Tells an error on stderr and gives the exit code. */
export function tell(error: unknown, io: Io): number {
  if (io.env["MPK_DEBUG"] === "1" && error instanceof Error) {
    io.stderr.write(`${error.stack ?? error.message}\n`);
  }
  if (error instanceof MpkError) {
    io.stderr.write(plain(`error: ${error.message}\n  fix: ${error.fix}\n`));
    return byCategory[error.category];
  }
  if (error instanceof Error && modelErrors.has(error.name)) {
    io.stderr.write(plain(`error: ${error.message}\n`));
    return exitCodes.badInput;
  }
  const text = error instanceof Error ? error.message : String(error);
  io.stderr.write(
    `error: ${plain(text)}\n  fix: this is a fault of mpk: please report it (MPK_DEBUG=1 shows where)\n`,
  );
  return exitCodes.failed;
}
