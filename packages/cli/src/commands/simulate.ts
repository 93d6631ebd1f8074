/** @file `mpk simulate`: how long a step would take on a GPU, and where the time would go. */
import {
  accountsOf, gpuNamed, lossCauses, lossesOf, profileOf, saveGpu,
  simulateSetting, titleNamed, traceOf, whatIfForms, whatIfsFor, type Loss, type Setting, type SimulatedStep,
} from "@mpk/compiler";
import type { Command } from "commander";
import { wholeFrom } from "../arguments.ts";
import { writeNamed, type Io } from "../io.ts";
import { accountsText, tableText } from "../profile-text.ts";

interface Options {
  readonly machine: string;
  readonly context?: number;
  readonly whatIf?: readonly string[];
  readonly accounts?: boolean;
  readonly out?: string;
  readonly writeMachine?: string;
  readonly json?: boolean;
}

const examples = `
Examples:
  $ mpk simulate qwen3-8b
  $ mpk simulate path/to/checkpoint --machine b200 --context 4096
  $ mpk simulate config.json --what-if sms=x2 --what-if ring=16 --what-if no-hand-offs
  $ mpk simulate llama-3.2-1b --what-if all --json
  $ mpk simulate qwen3-8b --out trace.json     the step, as mpk profile would have seen it
  $ mpk simulate qwen3-8b --machine h100 --write-machine my.json    to edit and use

Machines: h200 (measured), h100, a100, b200, rtx5090 (from data sheets), or a file.
Questions: ${whatIfForms}; all asks one of each.
No GPU is needed. docs/performance.md says how far predictions are from what an H200 measured.`;

export function simulateCommand(program: Command, io: Io): void {
  program
    .command("simulate")
    .description("predict a step on a GPU that need not be here, and answer what-ifs")
    .argument("<model>", "checkpoint folder, config.json, model.ts, saved plan, or a shape by name")
    .option("--machine <name>", "a machine by name, or a file that describes one", "h200")
    .option("--context <tokens>", "tokens in the cache before the step (default: at most 128)", wholeFrom(1))
    .option("--what-if <change...>", "also simulate with something changed; may be repeated")
    .option("--accounts", "also the tables of mpk profile, for the simulated step")
    .option("--out <file>", "write a Chrome trace, and all marks beside it, as mpk profile does")
    .option("--write-machine <file>", "write the machine's description, and stop")
    .option("--json", "print one JSON object")
    .addHelpText("after", examples)
    .action((model: string, options: Options) => run(model, options, io));
}

async function run(model: string, options: Options, io: Io): Promise<void> {
  const gpu = gpuNamed(options.machine);
  if (options.writeMachine !== undefined) {
    writeNamed(options.writeMachine, saveGpu(gpu));
    io.stdout.write(`wrote ${options.writeMachine}\n`);
    return;
  }
  const questions = whatIfsFor(model, options.whatIf ?? []);
  const { context } = options;
  const setting: Setting = { model, gpu, plan: {}, ...(context === undefined ? {} : { context }) };
  const record = options.out !== undefined || options.accounts === true;
  const base = await simulateSetting(setting, record);
  const variants: Variant[] = [];
  for (const { name, title, change } of questions) {
    variants.push({ name, title, step: await simulateSetting(change(base.setting), false, base.plan) });
  }
  if (options.out !== undefined) saveTrace(base, options.out, io);
  io.stdout.write(
    options.json === true ? `${JSON.stringify(jsonOf(base, variants))}\n` : textOf(base, variants),
  );
  if (options.accounts === true && options.json !== true) {
    io.stdout.write(accountsText(accountsFor(base)));
  }
}

interface Variant {
  readonly name: string;
  readonly title: string;
  readonly step: SimulatedStep;
}

const accountsFor = ({ plan, simulation }: SimulatedStep) =>
  accountsOf(plan, profileOf(plan, simulation), plan.machine.readBytesPerSecond);

function saveTrace(step: SimulatedStep, path: string, io: Io): void {
  const { plan, simulation, setting: { gpu, context } } = step;
  const profile = profileOf(plan, simulation);
  const marks = path.replace(/(\.json)?$/, ".profile.json");
  const head = {
    format: "mpk-profile", version: 1, model: titleNamed(step.setting.model), device: gpu.name, context,
    simulated: { machine: gpu.name, source: gpu.source }, accounts: accountsFor(step),
    setting: {
      machine: plan.machine, target: gpu.target, ...plan.program.limits, plan: step.setting.plan,
    },
  };
  for (const [file, text] of [
    [path, traceOf(plan, profile)], [marks, JSON.stringify({ ...head, ...profile })],
  ] as const) {
    writeNamed(file, text);
    io.stderr.write(`wrote ${file}\n`);
  }
}

const shownLosses = 6;
const ms = (nanos: number): string => (nanos / 1e6).toFixed(3);
const micros = (nanos: number): string => (nanos / 1e3).toFixed(1);
const share = ({ simulation }: SimulatedStep): string =>
  `${((simulation.floorNanos / simulation.stepNanos) * 100).toFixed(1)} %`;

const lossRow = ({ cause, op, nanos }: Loss): readonly string[] =>
  [op === null ? lossCauses[cause] : `${op}: ${lossCauses[cause]}`, micros(nanos)];

function textOf(base: SimulatedStep, variants: readonly Variant[]): string {
  const { plan, simulation, setting: { gpu, context } } = base;
  const losses = lossesOf(plan, simulation);
  const rest = losses.slice(shownLosses).reduce((sum, { nanos }) => sum + nanos, 0);
  const rows = [
    ["floor: the bytes at memory's best", micros(simulation.floorNanos)],
    ...losses.slice(0, shownLosses).map(lossRow),
    ["all other", micros(rest)],
    ["step", micros(simulation.stepNanos)],
  ];
  return (
    `${titleNamed(base.setting.model)} on ${gpu.name}, ${plan.machine.sms} SMs, ` +
    `${context} tokens before the step\n` +
    `constants ${gpu.source}: ${gpu.origin}\n\n` +
    `predicted ${ms(simulation.stepNanos)} ms a step, ${share(base)} of the read limit\n` +
    `\nfrom the floor to the step, µs\n${tableText(rows)}` +
    (variants.length === 0 ? "" : `\nwhat if, ms a step\n${variantTable(base, variants)}`)
  );
}

function variantTable(base: SimulatedStep, variants: readonly Variant[]): string {
  const was = base.simulation.stepNanos;
  const row = ({ name, title, step }: Variant): readonly string[] => {
    const { stepNanos } = step.simulation;
    const change = ((stepNanos / was - 1) * 100).toFixed(1);
    const [largest] = lossesOf(step.plan, step.simulation);
    const what = largest === undefined
      ? ""
      : `${largest.op ?? "all"} ${largest.cause} ${micros(largest.nanos)} µs`;
    return [name, ms(stepNanos), `${change} %`, share(step), what, title];
  };
  const head = ["", "ms", "change", "of the limit", "largest loss", ""];
  return tableText([head, ["as planned", ms(was), "", share(base), "", ""], ...variants.map(row)]);
}

function jsonOf(base: SimulatedStep, variants: readonly Variant[]): object {
  const { name, source, origin } = base.setting.gpu;
  const step = ({ plan, simulation }: SimulatedStep) => ({
    stepMs: simulation.stepNanos / 1e6,
    floorMs: simulation.floorNanos / 1e6,
    streamBytes: simulation.streamBytes,
    losses: lossesOf(plan, simulation).map((loss) => ({
      cause: loss.cause, op: loss.op, micros: loss.nanos / 1e3,
    })),
  });
  return {
    model: titleNamed(base.setting.model), machine: { name, source, origin }, sms: base.plan.machine.sms,
    context: base.setting.context, ...step(base),
    whatIf: variants.map((one) => ({ name: one.name, title: one.title, ...step(one.step) })),
  };
}
