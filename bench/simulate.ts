/**
 * @file How far the simulator is from what an H200 measured.
 *
 *     node --conditions=@mpk/source bench/simulate.ts [--page docs/performance.md] [--fit SECONDS]
 *
 * Simulates every step of measured.json and prints a table of the errors, and one of ops where a
 * profile was kept; `--page` writes both between the page's marks. Steps marked `fitted` are those
 * that the constants were fitted to; the others were held out. `costs`: what the kernel that was
 * measured had otherwise (the attention of before). `--fit` fits anew, from the constants there are, to
 * those steps and to the ops of all profiles, and writes the constants into the simulator instead;
 * take.ts brings what was measured into measured.json.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import {
  accountsOf, errorPercent, fitErrors, gpus, opName, planModel, predictor, profileOf, simulateSetting,
  type Observation, type Setting,
} from "@mpk/compiler";
import { knownShapes, modelFromConfig } from "@mpk/models";
import { scheduleTable } from "@mpk/ops";
import { simulatorOf, type Plan, type Simulation, type SimulationConstants } from "@mpk/schedule";

interface Measured {
  readonly shape: string;
  readonly plan?: Setting["plan"];
  readonly costs?: Partial<Setting["gpu"]["constants"]>;
  readonly ms: number;
  readonly fitted?: boolean;
}
interface File {
  readonly gpu: string;
  readonly context: number;
  readonly steps: readonly Measured[];
  /** Mean microseconds of an SM by op, from `mpk profile`. */
  readonly profiles: readonly {
    readonly shape: string;
    readonly plan?: Setting["plan"];
    readonly context: number;
    /** The step that they add up to. */
    readonly ms: number;
    readonly ops: Readonly<Record<string, number>>;
  }[];
}

const { values } = parseArgs({
  options: { page: { type: "string" }, fit: { type: "string" } },
});
if (values.fit !== undefined && !(Number(values.fit) > 0)) {
  console.error(`error: --fit is a number of seconds above 0, not '${values.fit}'`);
  process.exit(2);
}
const file = JSON.parse(
  readFileSync(new URL("./measured.json", import.meta.url), "utf8"),
) as File;
const shapes = knownShapes();
/** What an error of a step weighs in a fit, and one of an op; ops differ so many per cent of themselves. */
const [stepWeight, opWeight, opNoise] = [2, 0.4, 4];
if (values.fit !== undefined) {
  const until = performance.now() + 1000 * Number(values.fit);
  const steps = (await Promise.all(file.steps.filter(({ fitted }) => fitted).map(observed))).map(predictor);
  const profiles = await Promise.all(file.profiles.map(profiled));
  const errorsOf = (constants: SimulationConstants): readonly number[] => [
    ...steps.map((predict) => stepWeight * errorPercent(predict(constants))),
    ...profiles.flatMap((errors) => errors(constants)),
  ];
  const start = gpus.h200.constants;
  // Steps with flags have one hand-off by counters: fitted to them, it would stand for all that a step begins with.
  const { handOffNanos } = start;
  const found = fitErrors(
    (constants) => errorsOf({ ...constants, handOffNanos }), start, () => performance.now() < until,
  );
  writeConstants({ ...found, handOffNanos });
  process.exit(0);
}

/** Into the simulator's own file: as they are used, so they are reviewed. */
function writeConstants(constants: SimulationConstants): void {
  const path = new URL("../packages/schedule/src/simulate/constants.ts", import.meta.url);
  const text = Object.entries(constants).reduce((before, [name, value]) =>
    before.replace(new RegExp(`(\\n  ${name}: )[\\d.]+,`), `$1${value},`), readFileSync(path, "utf8"));
  writeFileSync(path, text);
  console.log(constants);
}

/** Plans of a model with few of its layers, which are alike: what is asked of it is a line in their number. */
async function cutsOf(
  shape: string, plan: Setting["plan"], context: number,
): Promise<readonly { readonly plan: Plan; readonly times: number }[]> {
  const config = shapes[shape]?.config ?? {};
  const layers = Number(config["num_hidden_layers"]);
  const [few, more] = [2, 4];
  const limits = { maxTokens: 8, maxContext: context + 1 };
  const cut = async (count: number) => (await planModel(
    modelFromConfig({ ...config, num_hidden_layers: count }, limits), { plan: plan ?? {} },
  )).plan;
  const share = (layers - few) / (more - few);
  return [{ plan: await cut(few), times: 1 - share }, { plan: await cut(more), times: share }];
}

async function observed({ shape, plan, costs, ms }: Measured): Promise<Observation> {
  return {
    name: shape, context: file.context, nanos: ms * 1e6, ...(costs === undefined ? {} : { costs }),
    plans: await cutsOf(shape, plan ?? {}, file.context),
  };
}

/**
 * Errors of a profile's ops under any constants, per cent, less what two profiles differ by. Each is a share
 * of its own step: the profile's is another kernel's, on another machine, than the one that was timed.
 */
async function profiled(
  { shape, plan, context, ms, ops }: File["profiles"][number],
): Promise<(constants: SimulationConstants) => readonly number[]> {
  const cuts = (await cutsOf(shape, plan ?? {}, context)).map(({ plan: cut, times }) => ({
    times, run: simulatorOf(cut, scheduleTable), plan: cut,
    names: cut.program.ops.map((_, op) => opName(cut, op)),
  }));
  return (constants) => {
    const found = new Map<string, number>();
    let step = 0;
    for (const { plan: cut, times, run, names } of cuts) {
      const simulation = run(constants, { context });
      step += times * simulation.stepNanos;
      opNanos(cut, simulation).forEach((nanos, op) => {
        const name = names[op] ?? "";
        found.set(name, (found.get(name) ?? 0) + times * nanos);
      });
    }
    return Object.entries(ops).map(([name, micros]) => {
      const percent = errorPercent({
        nanos: (micros * step) / (1000 * ms), predictedNanos: found.get(name) ?? 0,
      });
      return opWeight * Math.sign(percent) * Math.max(0, Math.abs(percent) - opNoise);
    });
  };
}

/** Between the ends of an SM's tasks, mean over SMs, by op: what accounts would say of it, at once. */
function opNanos({ order, tasks, machine, program }: Plan, { times }: Simulation): Float64Array {
  const sums = new Float64Array(program.ops.length);
  for (let sm = 0; sm < machine.sms; sm++) {
    let before = 0;
    for (let slot = order.start[sm] ?? 0; slot < (order.start[sm + 1] ?? 0); slot++) {
      const op = tasks.op[order.items[slot] ?? 0] ?? 0;
      const end = Math.max(before, times.end[slot] ?? 0);
      sums[op] = (sums[op] ?? 0) + (end - before) / machine.sms;
      before = end;
    }
  }
  return sums;
}

/** Ops of a profiled step, predicted and measured. */
async function opRows(profile: File["profiles"][number]): Promise<readonly string[]> {
  const { shape, context, ms, ops } = profile;
  const { plan, simulation } = await simulateSetting(
    { model: shape, gpu: gpus.h200, context, plan: profile.plan ?? {} }, true,
  );
  const accounts = accountsOf(
    plan, profileOf(plan, simulation), plan.machine.readBytesPerSecond,
  );
  return Object.entries(ops).map(([name, micros]) => {
    const predicted = (accounts.byOp.find((row) => row.name === name)?.total.nanos ?? 0) / 1e3;
    const [absolute, ofStep] = [1, accounts.stepNanos / (ms * 1e6)].map((longer) => {
      const percent = errorPercent({ nanos: micros * longer, predictedNanos: predicted });
      return `${percent > 0 ? "+" : ""}${percent.toFixed(0)} %`;
    });
    const title = shapes[shape]?.title ?? shape;
    const times = `${micros.toFixed(1)} | ${predicted.toFixed(1)}`;
    return `| ${title} | ${name} | ${times} | ${absolute} | ${ofStep} |`;
  });
}

const rows: string[] = [];
const errors: { readonly fitted: boolean; readonly percent: number }[] = [];
for (const { shape, plan = {}, costs = {}, ms, fitted = false } of file.steps) {
  const gpu = { ...gpus.h200, constants: { ...gpus.h200.constants, ...costs } };
  const { simulation } = await simulateSetting({ model: shape, gpu, context: file.context, plan });
  const predicted = simulation.stepNanos / 1e6;
  const percent = (predicted / ms - 1) * 100;
  errors.push({ fitted, percent });
  const chosen = Object.entries(plan).map(([name, value]) => `${name} ${value}`);
  const told = [
    shapes[shape]?.title ?? shape, chosen.join(", ") || "as compiled",
    ms.toFixed(3), predicted.toFixed(3), `${percent > 0 ? "+" : ""}${percent.toFixed(1)} %`,
    fitted ? "fitted" : "held out",
  ];
  rows.push(`| ${told.join(" | ")} |`);
}
const worst = (fitted: boolean): string =>
  Math.max(...errors.filter((one) => one.fitted === fitted).map((one) => Math.abs(one.percent)))
    .toFixed(1);
const table = `| shape | plan | measured ms | predicted ms | error | |
|---|---|---|---|---|---|
${rows.join("\n")}

Largest error: ${worst(true)} % where constants were fitted, ${worst(false)} % held out.

| shape | op | measured µs, mean of an SM | predicted µs | error | error of its share of the step |
|---|---|---|---|---|---|
${(await Promise.all(file.profiles.map(opRows))).flat().join("\n")}
`;
console.log(table);
if (values.page !== undefined) {
  const page = readFileSync(values.page, "utf8");
  const marks = /(<!-- begin simulated -->\n)[\s\S]*(<!-- end simulated -->)/;
  if (!marks.test(page)) throw new Error(`${values.page}: has no marks for the table`);
  writeFileSync(values.page, page.replace(marks, (_, begin, end) => `${begin}${table}${end}`));
}
