/** @file `mpk view`: a step in the browser, predicted and measured, as one HTML file. */
import { gpuNamed, viewModel } from "@mpk/compiler";
import type { Command } from "commander";
import { wholeFrom } from "../arguments.ts";
import { viewPage } from "../html.ts";
import { writeNamed, type Io } from "../io.ts";
import { bytes } from "../text.ts";

interface Options {
  readonly profile?: readonly string[];
  readonly machine: string;
  readonly context?: number;
  readonly step?: number;
  readonly out: string;
}

const examples = `
Examples:
  $ mpk view qwen3-8b                                    the step as it is predicted
  $ mpk profile qwen3-8b --out trace.json                on a GPU
  $ mpk view qwen3-8b --profile trace.profile.json       predicted above measured
  $ mpk view qwen3-8b --profile old.profile.json new.profile.json --out compared.html

The page needs no server and no network: open it from disk. Its keys are under "keys".`;

export function viewCommand(program: Command, io: Io): void {
  program
    .command("view")
    .description("write a page that shows a step: SMs over time, predicted and measured")
    .argument("<model>", "checkpoint folder, config.json, model.ts, saved plan, or a shape by name")
    .option("--profile <file...>", "profiles of this model, each FILE.profile.json of mpk profile")
    .option("--machine <name>", "what the prediction is for: a name or a file", "h200")
    .option("--context <tokens>", "of the prediction (default: the profile's, or up to 128)", wholeFrom(1))
    .option("--step <number>", "which step of each profile (default: the median one)", wholeFrom(1))
    .option("--out <file>", "the page", "view.html")
    .addHelpText("after", examples)
    .action(async (model: string, options: Options) => {
      const { profile, context, step } = options;
      const data = await viewModel(model, {
        gpu: gpuNamed(options.machine),
        ...(profile === undefined ? {} : { profiles: profile }),
        ...(context === undefined ? {} : { context }),
        ...(step === undefined ? {} : { step: step - 1 }),
      });
      const page = viewPage(data);
      writeNamed(options.out, page);
      io.stdout.write(`wrote ${options.out} (${bytes(page.length)})\n`);
    });
}
