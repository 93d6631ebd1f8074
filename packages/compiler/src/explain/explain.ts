/** @file Why a step takes what it takes: what bounds it, what is lost, what would move that. */
import type { ProfileFile } from "@mpk/runtime";
import type { Gpu, Plan, SimulationConstants } from "@mpk/schedule";
import { accountsOf, type Accounts } from "../profile/index.ts";
import { isPlanFile } from "../load.ts";
import { partNames, type Part } from "../profile/timeline.ts";
import { lossesOf, type Loss, type LossCause } from "../simulate/losses.ts";
import { simulateSetting, type Setting, type SimulatedStep } from "../simulate/model.ts";
import { parseWhatIf } from "../simulate/whatif.ts";
import { requireSamePlan } from "../view/same.ts";
import { graphOf, type GraphModel } from "./graph.ts";

/** A knob of the planner, tried in the simulator. */
export interface Knob {
  readonly name: string;
  readonly title: string;
  readonly stepNanos: number;
}

export interface ExplainedLoss extends Loss {
  /** The cost that stands for it in the machine's description, with its value there. */
  readonly cost: string;
  /** The knob that would shorten it most, with what it would save of it and of the step; if any. */
  readonly knob: (Knob & { readonly lossSaved: number; readonly stepSaved: number }) | null;
}

export interface Explanation {
  readonly plan: Plan;
  readonly gpu: Gpu;
  readonly context: number;
  readonly source: "predicted" | "measured";
  readonly stepNanos: number;
  readonly predictedNanos: number;
  readonly floorNanos: number;
  /** What more of would shorten the step most. */
  readonly bound: Bound;
  /** The largest, the largest first. */
  readonly losses: readonly ExplainedLoss[];
  /** Of the losses not listed. */
  readonly otherNanos: number;
  /** Empty for a saved plan. */
  readonly knobs: readonly Knob[];
  readonly graph: GraphModel;
}

export const bounds = {
  memory: "memory: most of the step is weights being read at the best rate there is",
  handOffs: "hand-offs: SMs wait for each other longer than for anything that could be read",
  work: "work between reads: norms, sums and stores take longer than the rings can bridge",
} as const;
export type Bound = keyof typeof bounds;

const shownLosses = 5;

/** Which cost of the machine stands for a cause. */
const costOf = {
  slow: (c) => `streamShare ${c.streamShare}`,
  handOff: (c) => `flagNanos ${c.flagNanos}, handOffNanos ${c.handOffNanos}`,
  prologue: (c) => `prologueNanos ${c.prologueNanos}, stateNanos ${c.stateNanos}`,
  products: (c) => `chunkNanos ${c.chunkNanos}, epilogueNanos ${c.epilogueNanos}`,
} as const satisfies Record<LossCause, (constants: SimulationConstants) => string>;

/** A profile's parts by the simulator's causes. */
const causeOfPart = {
  gate: "handOff", imbalance: "handOff", handOff: "handOff", tail: "handOff",
  dispatch: "prologue", norm: "prologue", prepare: "prologue", attention: "prologue", compute: "prologue",
  ringEmpty: "products", stream: "products", finish: "products", signal: "products",
} as const satisfies Record<Part, LossCause>;

/** Losses as a profile has them: what was not read while rings were full, and what was read slowly. */
export function measuredLosses({ byOp, slowNanos }: Accounts): readonly Loss[] {
  const found: Loss[] = slowNanos > 0 ? [{ cause: "slow", op: null, nanos: slowNanos }] : [];
  for (const { name, parts } of byOp) {
    const sums = new Map<LossCause, number>();
    for (const part of partNames) {
      const cause = causeOfPart[part];
      sums.set(cause, (sums.get(cause) ?? 0) + parts[part].fullNanos);
    }
    for (const [cause, nanos] of sums) if (nanos > 0) found.push({ cause, op: name, nanos });
  }
  return found.sort((a, b) => b.nanos - a.nanos);
}

/** Planner's knobs that are worth a try: what the plan does not do yet. */
function knobsFor({ ring, flags }: Plan, context: number): readonly string[] {
  const rings = [ring.stages - ring.consumerWarps, ring.stages + ring.consumerWarps];
  const inFlight = [ring.maxInFlight - 2, ring.maxInFlight + 2];
  return [
    ...rings.filter((n) => n > ring.maxInFlight && n <= 24).map((n) => `ring=${n}`),
    ...inFlight.filter((n) => n > 0 && n < ring.stages).map((n) => `in-flight=${n}`),
    `protocol=${flags.value.length > 0 ? "counter" : "flag"}`,
    "period=2",
    // Below, the merge's hand-off costs more than the parts save.
    ...(context >= 512 ? ["attention=split"] : []),
  ];
}

/** `file`: of `mpk profile`, from `path`; without one, the step is the simulator's. */
export async function explain(
  setting: Setting,
  file: (ProfileFile & { readonly path: string }) | null = null,
): Promise<Explanation> {
  const base = await simulateSetting(setting, true);
  const { plan, simulation } = base;
  const { gpu, context } = base.setting;
  if (file !== null) requireSamePlan(plan, file, file.path);
  const tried: (Knob & { readonly step: SimulatedStep })[] = [];
  // A saved plan has its knobs set.
  for (const name of isPlanFile(setting.model) ? [] : knobsFor(plan, context)) {
    const { title, change } = parseWhatIf(name);
    // A ring that does not fit beside the activations is no choice.
    const step = await simulateSetting(change(base.setting)).catch(() => null);
    if (step !== null) tried.push({ name, title, step, stepNanos: step.simulation.stepNanos });
  }
  const predicted = lossesOf(plan, simulation);
  const measured = file === null ? null : accountsFor(plan, file);
  const losses = measured === null ? predicted : measuredLosses(measured);
  const { floorNanos } = simulation;
  const stepNanos = measured?.stepNanos ?? simulation.stepNanos;
  return {
    plan, gpu, context, source: measured === null ? "predicted" : "measured", stepNanos,
    predictedNanos: simulation.stepNanos, floorNanos,
    bound: boundOf(floorNanos / stepNanos, losses),
    losses: losses.slice(0, shownLosses).map((loss) => explained(loss, predicted, base, tried)),
    otherNanos: losses.slice(shownLosses).reduce((sum, { nanos }) => sum + nanos, 0),
    knobs: tried.map(({ name, title, stepNanos: nanos }) => ({ name, title, stepNanos: nanos }))
      .sort((a, b) => a.stepNanos - b.stepNanos),
    graph: graphOf(plan, gpu.constants, context),
  };
}

const accountsFor = (plan: Plan, file: ProfileFile): Accounts =>
  accountsOf(plan, file, plan.machine.readBytesPerSecond);

/** Where two thirds of the step are floor, memory; else the cause of most of the rest. */
function boundOf(floorShare: number, losses: readonly Loss[]): Bound {
  if (floorShare >= 2 / 3) return "memory";
  const sum = (causes: readonly LossCause[]): number =>
    losses.reduce((all, { cause, nanos }) => causes.includes(cause) ? all + nanos : all, 0);
  return sum(["handOff"]) >= sum(["prologue", "products"]) ? "handOffs" : "work";
}

function explained(
  loss: Loss,
  predicted: readonly Loss[],
  { setting, simulation }: SimulatedStep,
  tried: readonly (Knob & { readonly step: SimulatedStep })[],
): ExplainedLoss {
  const of = (list: readonly Loss[]): number =>
    list.find(({ cause, op }) => cause === loss.cause && op === loss.op)?.nanos ?? 0;
  const was = of(predicted);
  const found = tried
    .map(({ step, ...knob }) => ({
      ...knob,
      lossSaved: was - of(lossesOf(step.plan, step.simulation)),
      stepSaved: simulation.stepNanos - knob.stepNanos,
    }))
    // What shortens one loss and lengthens the step only moves it elsewhere.
    .filter(({ lossSaved, stepSaved }) => lossSaved > 0 && stepSaved > 0)
    .sort((a, b) => b.lossSaved - a.lossSaved);
  return { ...loss, cost: costOf[loss.cause](setting.gpu.constants), knob: found[0] ?? null };
}
