/** @file `mpk faults`: plants faults into a checkpoint's kernel and shows how each of them ends. */
import {
  buildFaults, diagnose, faultsOf, mostFaultSeconds, open, openWithFault, showFault,
  type FaultResult, type Opened,
} from "@mpk/compiler";
import { environmentError } from "@mpk/runtime";
import { Option, type Command } from "commander";
import { wholeFrom } from "../arguments.ts";
import { exitCodes } from "../codes.ts";
import type { Io } from "../io.ts";
import { showKilled, showNoMemory } from "./disasters.ts";

interface Options {
  readonly device: "auto" | "cuda" | "emulated";
  readonly sms?: number;
  readonly json?: boolean;
}

const examples = `
Examples:
  $ mpk faults path/to/checkpoint
  $ mpk faults path/to/checkpoint --device emulated --sms 4

Each fault must end within ${mostFaultSeconds} s in an error that names op, layer and cause.
After it, a session that was open all the time must give the tokens it gave before, and so must the
faulty one where it can. Exits with 1 where one does not.`;

export function faultsCommand(program: Command, io: Io, setExit: (code: number) => void): void {
  program
    .command("faults")
    .description("plant faults into a kernel: how do they end, and does the next prompt work?")
    .argument("<checkpoint>", "folder with config.json and safetensors weights")
    .addOption(new Option("--device <device>", "where to run").choices(["auto", "cuda", "emulated"])
      .default("auto"))
    .option("--sms <count>", "SMs to use", wholeFrom(1))
    .option("--json", "print one JSON object")
    .addHelpText("after", examples)
    .action(async (checkpoint: string, options: Options) => {
      setExit(await faults(checkpoint, options, io));
    });
}

async function chosen({ device }: Options, io: Io): Promise<"cuda" | "emulated"> {
  if (device !== "auto") return device;
  const { uses } = await diagnose(io.env);
  if (uses !== "virtual") return uses;
  throw environmentError("there is no GPU", "add --device emulated: it runs the emitted source here");
}

async function faults(checkpoint: string, options: Options, io: Io): Promise<number> {
  const device = await chosen(options, io);
  const results: FaultResult[] = [];
  const told = (result: FaultResult): void => {
    results.push(result);
    if (options.json === true) return;
    const { passed, name, seconds, seen } = result;
    io.stdout.write(`${passed ? "ok  " : "FAIL"} ${name} (${seconds.toFixed(2)} s): ${seen}\n`);
  };
  const sound = await open(checkpoint, {
    device, env: io.env, tuned: false, ...(options.sms === undefined ? {} : { sms: options.sms }),
  });
  try {
    await show(sound, device, io, told);
    if (device === "cuda") {
      told(await showKilled(checkpoint, sound.session));
      told(await showNoMemory(checkpoint, sound.session, io.env));
    }
  } finally {
    await sound.close();
  }
  if (options.json === true) io.stdout.write(`${JSON.stringify({ device, results })}\n`);
  return results.every(({ passed }) => passed) ? exitCodes.ok : exitCodes.failed;
}

async function show(
  { compiled, session }: Opened,
  device: "cuda" | "emulated",
  io: Io,
  told: (result: FaultResult) => void,
): Promise<void> {
  const { plan, manifest } = compiled;
  if (manifest === null) throw new Error("compiled without a target");
  // The emulator's time is its own.
  const now = device === "cuda" ? () => performance.now() : () => 0;
  const faults = faultsOf(plan, manifest);
  if (device === "cuda") await buildFaults(compiled, faults, io.env);
  for (const fault of faults) {
    told(await showFault(fault, session, (one) => openWithFault(compiled, one, device, io.env), now));
  }
  told(await impossibleToken(session));
}

/** A token outside the vocabulary would be read beyond the embedding table. */
async function impossibleToken(session: Opened["session"]): Promise<FaultResult> {
  const name = "an impossible token in the prompt";
  try {
    for await (const _ of session.generate({ promptIds: [session.limits.vocab], maxTokens: 1 }));
    return { name, passed: false, seconds: 0, seen: "no error" };
  } catch (error) {
    const seen = error instanceof Error ? error.message : String(error);
    return { name, passed: seen.includes("outside the vocabulary"), seconds: 0, seen };
  }
}
