/** @file The one file that runs SPIN: compiles a Promela model, searches it exhaustively. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

export interface SpinVerdict {
  /** What went wrong (an assertion, an invalid end state), or null: nothing in any execution. */
  readonly error: string | null;
  readonly states: number;
}

/** A compiled model. */
export interface SpinModel {
  /** One search for each input, which the model reads as its standard input. */
  search(inputs: readonly string[]): readonly SpinVerdict[];
  /** Removes what was compiled. */
  dispose(): void;
}

/** Deeper than any bounded model here; a search that reaches it is not complete and throws. */
const mostDepth = 50_000;
/** For models that go on for ever: their longest path without a repeat. */
export const endlessDepth = 1_000_000;

function isOnPath(name: string): boolean {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return folders.some((folder) => existsSync(join(folder, name)));
}

/** Why SPIN cannot run here, or null. Its searches are C programs: gcc compiles them. */
export function missingForSpin(): string | null {
  const missing = ["spin", "gcc"].filter((name) => !isOnPath(name));
  return missing.length === 0 ? null : `no ${missing.join(", no ")} in $PATH`;
}

const separator = "=== end of a search";

function readVerdict(output: string): SpinVerdict {
  const states = Number(/(\d+) states, stored/.exec(output)?.[1] ?? NaN);
  const error = /^pan:1: (.*)$/m.exec(output)?.[1] ?? null;
  const isComplete = !/Search not completed|max search depth too small/.test(output);
  if (Number.isNaN(states) || (error === null && !isComplete)) {
    throw new Error(`the search is not complete:\n${output}`);
  }
  return { error, states };
}

/** Throws with the tool's own words where the text is no model. */
export function compileSpin(promela: string, depth = mostDepth): SpinModel {
  const folder = mkdtempSync(join(tmpdir(), "mpk-spin-"));
  const call = (command: string, args: readonly string[], input = ""): string => {
    const run = spawnSync(command, args, {
      cwd: folder, input, encoding: "utf8", maxBuffer: 2 ** 26, timeout: 600_000,
    });
    const output = `${run.stdout ?? ""}${run.stderr ?? ""}`;
    if (run.error !== undefined) throw run.error;
    if (run.status !== 0) throw new Error(`${command} exits with ${run.status}:\n${output}`);
    return output;
  };
  writeFileSync(join(folder, "model.pml"), promela);
  const said = call("spin", ["-a", "model.pml"]);
  if (/error|warning/i.test(said)) throw new Error(`spin -a:\n${said}`);
  // Safety properties need no more; stores may be many, so the state vector may be long.
  const flags = ["-O1", "-w", "-DSAFETY", "-DNOFAIR", "-DVECTORSZ=4096"];
  call("gcc", [...flags, "-o", "pan", "pan.c"]);
  return {
    search(inputs) {
      inputs.forEach((input, i) => writeFileSync(join(folder, `${i}.in`), input));
      // One process for all: starting one from a large process takes longer than a small search.
      const loop = 'for (( i = 0; i < $0; i++ )); do ./pan $1 -w18 < $i.in; echo "$2"; done';
      const args = ["-c", loop, String(inputs.length), `-m${depth}`, separator];
      const outputs = call("bash", args).split(separator).slice(0, inputs.length);
      return outputs.map(readVerdict);
    },
    dispose: () => rmSync(folder, { recursive: true, force: true }),
  };
}
