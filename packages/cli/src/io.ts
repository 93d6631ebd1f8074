/** @file What a command sees of its process: streams, environment, interrupts. */
import { inputError, messageOf, writeAtomic } from "@mpk/runtime";
import { exitCodes } from "./codes.ts";

/** A stream of text, and whether a person watches it. */
export interface Output {
  write(text: string): void;
  readonly isTTY: boolean;
}

/** What a command sees of its process. */
export interface Io {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /**
   * Aborts when the user interrupts (Ctrl-C). Until a command calls this, an interrupt ends the
   * process at once: there is nothing to stop cleanly.
   */
  interruptible(): AbortSignal;
}

const output = (stream: NodeJS.WriteStream): Output => ({
  write: (text) => void stream.write(text),
  isTTY: stream.isTTY,
});

/** The real process. A second interrupt always ends it at once, with exit code 130. */
export function processIo(): Io {
  const controller = new AbortController();
  let stoppable = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (!stoppable || controller.signal.aborted) process.exit(exitCodes.interrupted);
      controller.abort();
    });
  }
  // A reader that closes the pipe early (head) has what it wanted.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(exitCodes.ok);
    process.stderr.write(
      `error: standard output: ${error.message}\n  fix: make room, or send it elsewhere\n`,
    );
    process.exit(exitCodes.environment);
  });
  return {
    stdout: output(process.stdout),
    stderr: output(process.stderr),
    env: process.env,
    interruptible() {
      stoppable = true;
      return controller.signal;
    },
  };
}

/** Writes a file that an option names. @throws MpkError (input). */
export function writeNamed(path: string, text: string): void {
  try {
    writeAtomic(path, text);
  } catch (error) {
    throw inputError(`cannot write ${path}: ${messageOf(error)}`, "name a writable file", error);
  }
}
