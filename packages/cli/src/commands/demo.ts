/** @file `mpk demo`: the whole path on the checkpoint that the repository ships. */
import { open } from "@mpk/compiler";
import { inputError } from "@mpk/runtime";
import type { Command } from "commander";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { wholeFrom } from "../arguments.ts";
import { exitCodes } from "../codes.ts";
import type { Io } from "../io.ts";
import { withBars } from "../progress.ts";
import { reportText, verificationText } from "../text.ts";

const shipped = fileURLToPath(
  new URL("../../../../examples/checkpoints/kjv-llama", import.meta.url),
);

export function demoCommand(program: Command, io: Io, setExit: (code: number) => void): void {
  program
    .command("demo")
    .description("compile the shipped checkpoint, verify its plan and generate text")
    .option("--prompt <text>", "what to continue", "In the beginning")
    .option("--max-tokens <count>", "tokens to generate", wholeFrom(1), 48)
    .addHelpText("after", "\nExamples:\n  $ mpk demo\n  $ mpk demo --prompt 'And it came to pass'")
    .action(async (options: { prompt: string; maxTokens: number }) => {
      setExit(await demo(options, io));
    });
}

async function demo(options: { prompt: string; maxTokens: number }, io: Io): Promise<number> {
  if (!existsSync(shipped)) {
    const message = `${shipped}: the demo's checkpoint is missing`;
    throw inputError(message, "run it inside the repository");
  }
  const model = await withBars(io, (onProgress) => open(shipped, { onProgress, env: io.env }));
  try {
    const { compiled, session } = model;
    io.stdout.write(`${reportText(compiled.report)}\n${verificationText(compiled.verification)}`);
    const where = session.device.kind === "cuda" ? session.device.name : "the virtual GPU";
    io.stdout.write(`\nrunning on ${where}\n\n${options.prompt}`);
    const text = model.text(options.prompt, {
      maxTokens: options.maxTokens,
      signal: io.interruptible(),
    });
    for await (const piece of text) io.stdout.write(piece);
    const { tokens, millis, finish } = text.summary();
    const perToken = tokens === 0 ? "" : `, ${(millis / tokens).toFixed(2)} ms each`;
    io.stdout.write(`\n\n${tokens} tokens${perToken}\n`);
    return finish === "stopped" ? exitCodes.interrupted : exitCodes.ok;
  } finally {
    await model.close();
  }
}
