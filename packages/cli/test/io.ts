/** @file A command line in a test: the output it wrote, and a hand on Ctrl-C. */
import { runCli } from "../src/cli.ts";
import type { Io } from "../src/io.ts";

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface RunOptions {
  readonly env?: Io["env"];
  /** Aborting is what Ctrl-C does. */
  readonly interrupt?: AbortController;
  /** Sees standard output as it is written. */
  readonly onOut?: (text: string) => void;
}

/** Runs `mpk` in this process. */
export async function mpk(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  let out = "";
  let err = "";
  const { env = { PATH: "/nowhere", CUDA_HOME: "/nowhere" }, onOut } = options;
  const code = await runCli(args, {
    stdout: { isTTY: false, write: (text) => { out += text; onOut?.(text); } },
    stderr: { isTTY: false, write: (text) => void (err += text) },
    env,
    interruptible: () => (options.interrupt ?? new AbortController()).signal,
  });
  return { code, out, err };
}
