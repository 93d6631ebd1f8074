/** @file `mpk explain`: what bounds a model on a machine, and what would move it, in words. */
import {
  bounds, explain, gpuNamed, graphGapNanos, graphParts, lossCauses, titleNamed, type ExplainedLoss,
  type Explanation, type GraphPart,
} from "@mpk/compiler";
import { readProfileFile } from "@mpk/runtime";
import type { Command } from "commander";
import { wholeFrom } from "../arguments.ts";
import type { Io } from "../io.ts";
import { tableText } from "../profile-text.ts";

interface Options {
  readonly machine: string;
  readonly context?: number;
  readonly profile?: string;
  readonly json?: boolean;
}

const examples = `
Examples:
  $ mpk explain qwen3-8b
  $ mpk explain path/to/checkpoint --machine b200 --context 4096
  $ mpk explain llama-3.2-1b --profile trace.profile.json     the step as mpk profile saw it

Knobs are tried in the simulator: mpk tune measures them on a GPU. The comparison with a CUDA graph is
a model; docs/performance.md has measured times of PyTorch's.`;

export function explainCommand(program: Command, io: Io): void {
  program
    .command("explain")
    .description("say what bounds a model, its largest losses and what would move them")
    .argument("<model>", "checkpoint folder, config.json, model.ts, saved plan, or a shape by name")
    .option("--machine <name>", "a machine by name, or a file that describes one", "h200")
    .option("--context <tokens>", "in the cache (default: the profile's, else at most 128)", wholeFrom(1))
    .option("--profile <file>", "a profile of this model: losses as measured, not as predicted")
    .option("--json", "print one JSON object")
    .addHelpText("after", examples)
    .action(async (model: string, { machine, context, profile, json }: Options) => {
      const file = profile === undefined ? null : { path: profile, ...readProfileFile(profile) };
      const before = context ?? file?.context;
      const setting = {
        model, gpu: gpuNamed(machine), plan: {}, ...(before === undefined ? {} : { context: before }),
      };
      const found = await explain(setting, file);
      const title = titleNamed(model);
      const { plan: _, gpu, ...rest } = found;
      const { name, source, origin } = gpu;
      io.stdout.write(
        json === true
          ? `${JSON.stringify({ model: title, machine: { name, source, origin }, ...rest })}\n`
          : textOf(title, found),
      );
    });
}

const micros = (nanos: number): string => (nanos / 1e3).toFixed(1);
const ms = (nanos: number): string => (nanos / 1e6).toFixed(3);
const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;

function textOf(title: string, found: Explanation): string {
  const { gpu, plan, context, source, stepNanos, floorNanos, predictedNanos, bound } = found;
  const also = source === "measured" ? ` (predicted ${ms(predictedNanos)})` : "";
  const bytes = plan.streams.flat().reduce((sum, one) => sum + one.chunks * one.chunkBytes, 0);
  return (
    `${title} on ${gpu.name}, ${plan.machine.sms} SMs, ${context} tokens before the step\n` +
    `constants ${gpu.source}: ${gpu.origin}\n\n` +
    `${source} ${ms(stepNanos)} ms a token${also}. Reading its ${(bytes / 1e9).toFixed(2)} GB once takes ` +
    `${ms(floorNanos)} ms at best: ${percent(floorNanos / stepNanos)} of the step.\n` +
    `Bound by ${bounds[bound]}.\n` +
    `\nlargest losses against that floor, µs\n${lossTable(found)}` +
    `\nknobs of the planner, predicted ms a step (${ms(predictedNanos)} as planned)\n` +
    knobTable(found) +
    graphText(found)
  );
}

const lossText = ({ cause, op }: ExplainedLoss): string =>
  op === null ? lossCauses[cause] : `${op}: ${lossCauses[cause]}`;

function lossTable({ losses, otherNanos, source }: Explanation): string {
  const rows = losses.map((loss) => [
    lossText(loss), micros(loss.nanos),
    loss.knob === null
      ? "no knob of the planner"
      : `${loss.knob.name} (−${micros(loss.knob.lossSaved)}, step −${micros(loss.knob.stepSaved)})`,
    `costs: ${loss.cost}`,
  ]);
  const other = source === "measured" ? "all other" : "all other, but for what rings hold";
  return tableText([["", "µs", "what would move it", ""], ...rows, [other, micros(otherNanos), "", ""]]);
}

function knobTable({ knobs, predictedNanos }: Explanation): string {
  if (knobs.length === 0) return "  none: the plan is saved; give the model it was compiled from\n";
  return tableText(knobs.map(({ name, title, stepNanos }) => {
    const change = (stepNanos / predictedNanos - 1) * 100;
    return [name, ms(stepNanos), `${change > 0 ? "+" : ""}${change.toFixed(1)} %`, title];
  }));
}

function graphText({ graph, stepNanos, source, gpu }: Explanation): string {
  const rows = Object.entries(graphParts).map(([part, what]) =>
    [what, micros(graph.parts[part as GraphPart])]);
  const more = percent(graph.nanos / stepNanos - 1);
  const gap = gpu.name === "h200" ? "measured on an H200" : "an H200's, measured";
  return (
    `\nwhy not a CUDA graph of separate kernels? Modelled, not measured:\n` +
    `${graph.kernels} kernels, each as good as our own task and as fast in reading, would take ` +
    `${ms(graph.nanos)} ms a token,\n${more} more than the ${source} ${ms(stepNanos)} ms ` +
    `(${graphGapNanos} ns between kernels: ${gap}), µs\n` +
    tableText([...rows, ["step", micros(graph.nanos)]])
  );
}
