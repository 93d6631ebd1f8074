/** @file The errors a user can do something about: what is wrong, where, and the likely fix. */

/**
 * Whose turn it is: `input` (a file or an argument is wrong), `environment` (this machine lacks
 * something), `runtime` (the kernel or the device failed).
 */
export type ErrorCategory = "input" | "environment" | "runtime";

/** An error whose message is complete on its own; `fix` says what to do about it. */
export class MpkError extends Error {
  override readonly name = "MpkError";
  readonly category: ErrorCategory;
  readonly fix: string;

  constructor(category: ErrorCategory, message: string, fix: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.category = category;
    this.fix = fix;
  }
}

/** Bad input: `message` names the culprit. */
export const inputError = (message: string, fix: string, cause?: unknown): MpkError =>
  new MpkError("input", message, fix, cause);

/** This machine lacks something. */
export const environmentError = (message: string, fix: string, cause?: unknown): MpkError =>
  new MpkError("environment", message, fix, cause);

/** The kernel or the device failed. */
export const runtimeError = (message: string, fix: string, cause?: unknown): MpkError =>
  new MpkError("runtime", message, fix, cause);

/**
 * The kernel or the virtual GPU found nothing but NaN to choose a token from.
 * @param culprit the end of the sentence: what is known of the reason.
 */
export const noTokenError = (where: string, culprit: string, cause?: unknown): MpkError =>
  runtimeError(
    `${where}: no token could be chosen: the logits are not numbers (NaN)${culprit}`,
    culprit.startsWith(": tensor")
      ? "download the checkpoint again, or mend the tensor"
      : culprit.includes("all weights are finite")
        ? "numbers grow too large on the way: does config.json belong to these weights?"
        : "look for NaN or infinite values in the checkpoint's weights",
    cause,
  );

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
