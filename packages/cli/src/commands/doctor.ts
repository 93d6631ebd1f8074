/** @file `mpk doctor`: what this machine has, and what will be used. */
import { diagnose, type Diagnosis } from "@mpk/compiler";
import type { Command } from "commander";
import type { Io } from "../io.ts";

export function doctorCommand(program: Command, io: Io): void {
  program
    .command("doctor")
    .description("show what this machine has (driver, GPU, NVRTC, nvcc) and what will be used")
    .option("--json", "print one JSON object")
    .addHelpText("after", "\nExamples:\n  $ mpk doctor\n  $ mpk doctor --json")
    .action(async (options: { json?: boolean }) => {
      const found = await diagnose(io.env);
      io.stdout.write(options.json ? `${JSON.stringify(found, null, 2)}\n` : asText(found));
    });
}

function asText(found: Diagnosis): string {
  const width = Math.max(...found.checks.map((check) => check.name.length));
  const lines = found.checks.map(
    ({ name, ok, detail }) => `${ok ? "ok     " : "missing"}  ${name.padEnd(width)}  ${detail}`,
  );
  return `${lines.join("\n")}\n\n${found.verdict}\n`;
}
