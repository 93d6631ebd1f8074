/** @file `mpk calibrate`: what the simulator must know of the GPU at hand, measured in a minute. */
import {
  buildForGpu, calibrate, errorPercent, measureOnGpu, requireGpu, saveGpu, type Calibration,
} from "@mpk/compiler";
import type { Command } from "commander";
import { numberBetween } from "../arguments.ts";
import { writeNamed, type Io } from "../io.ts";
import { tableText } from "../profile-text.ts";

interface Options {
  readonly out: string;
  readonly seconds: number;
  readonly json?: boolean;
}

const examples = `
Examples:
  $ mpk calibrate
  $ mpk calibrate --out my-gpu.json && mpk simulate qwen3-8b --machine my-gpu.json

Times eight small models with random weights (up to 1 GB), then fits the simulator's costs to six of
them; the other two say how far off it is. Kernels are built first, unless they are in the cache.`;

export function calibrateCommand(program: Command, io: Io): void {
  program
    .command("calibrate")
    .description("measure the GPU at hand for mpk simulate, view and explain")
    .option("--out <file>", "the machine's file", "machine.json")
    .option("--seconds <count>", "time to fit in, behind the measurements", numberBetween(1, 3600), 20)
    .option("--json", "print one JSON object")
    .addHelpText("after", examples)
    .action((options: Options) => run(options, io));
}

async function run({ out, seconds, json }: Options, io: Io): Promise<void> {
  await requireGpu(io.env);
  const start = performance.now();
  const found = await calibrate({
    build: (program, plan) => buildForGpu(program, plan, io.env),
    measure: (program, plan) => measureOnGpu(program, plan, io.env),
    now: () => performance.now(),
    fitSeconds: seconds,
    onMeasured(name, { stepNanos }) {
      io.stderr.write(`${name}: ${(stepNanos / 1e6).toFixed(4)} ms\n`);
    },
  });
  writeNamed(out, saveGpu(found.gpu));
  const took = (performance.now() - start) / 1000;
  io.stdout.write(
    json === true
      ? `${JSON.stringify({ ...found, seconds: took })}\n`
      : `${textOf(found)}wrote ${out} after ${took.toFixed(0)} s\n`,
  );
}

function textOf({ gpu, fitted, heldOut }: Calibration): string {
  const rows = [...fitted, ...heldOut].map((one, i) => [
    one.name, (one.nanos / 1e6).toFixed(4), (one.predictedNanos / 1e6).toFixed(4),
    `${errorPercent(one).toFixed(1)} %`, i < fitted.length ? "fitted" : "held out",
  ]);
  const costs = Object.entries(gpu.constants).map(([name, value]) => [name, String(value)]);
  const bandwidth = (gpu.machine.readBytesPerSecond / 1e12).toFixed(3);
  return (
    `${gpu.name}: ${gpu.machine.sms} SMs, reads ${bandwidth} TB/s\n` +
    `\nms a step\n${tableText([["", "measured", "predicted", "error", ""], ...rows])}` +
    `\ncosts\n${tableText(costs)}`
  );
}
