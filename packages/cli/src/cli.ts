/** @file The mpk command line: parses arguments, runs one command, gives the exit code. */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { benchCommand } from "./commands/bench.ts";
import { calibrateCommand } from "./commands/calibrate.ts";
import { compileCommand } from "./commands/compile.ts";
import { demoCommand } from "./commands/demo.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { faultsCommand } from "./commands/faults.ts";
import { explainCommand } from "./commands/explain.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { profileCommand } from "./commands/profile.ts";
import { repeatCommand } from "./commands/repeat.ts";
import { runCommand } from "./commands/run.ts";
import { simulateCommand } from "./commands/simulate.ts";
import { soakCommand } from "./commands/soak.ts";
import { tuneCommand } from "./commands/tune.ts";
import { verifyCommand } from "./commands/verify.ts";
import { viewCommand } from "./commands/view.ts";
import { exitCodes, exitCodesHelp } from "./codes.ts";
import { tell } from "./exit.ts";
import type { Io } from "./io.ts";

/** This package's, from the file beside `src` and `dist`. */
function ownVersion(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

/** Runs `mpk` with `args` (without node and script). Never throws. */
export async function runCli(args: readonly string[], io: Io): Promise<number> {
  let exit: number = exitCodes.ok;
  const setExit = (code: number) => void (exit = code);
  const program = new Command("mpk");
  program
    .description("Language models written in TypeScript, compiled into one persistent GPU kernel")
    .version(ownVersion(), "-V, --version", "print the version")
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      outputError: (text, write) => write(text),
    })
    .showHelpAfterError("  fix: see `mpk --help`, or --help of the command")
    .addHelpText("after", exitCodesHelp)
    .exitOverride();
  runCommand(program, io, setExit);
  compileCommand(program, io);
  verifyCommand(program, io, setExit);
  inspectCommand(program, io);
  benchCommand(program, io, setExit);
  profileCommand(program, io);
  simulateCommand(program, io);
  explainCommand(program, io);
  calibrateCommand(program, io);
  viewCommand(program, io);
  tuneCommand(program, io, setExit);
  repeatCommand(program, io, setExit);
  soakCommand(program, io, setExit);
  faultsCommand(program, io, setExit);
  doctorCommand(program, io);
  demoCommand(program, io, setExit);
  try {
    await program.parseAsync([...args], { from: "user" });
    return exit;
  } catch (error) {
    if (!(error instanceof CommanderError)) return tell(error, io);
    // Commander has told it already; help and version are no errors.
    return error.exitCode === 0 ? exitCodes.ok : exitCodes.badInput;
  }
}
