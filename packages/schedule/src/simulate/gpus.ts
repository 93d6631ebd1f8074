/**
 * @file GPUs as the simulator knows them, a small JSON each: what a plan is made for and what things
 * cost there. Pure.
 */
import { PlanError } from "../errors.ts";
import { PlanFormatError, Reader, readMachine } from "../load.ts";
import { machines } from "../machines.ts";
import type { Machine } from "../plan.ts";
import { costNames, h200Constants, sources } from "./constants.ts";
import type { ConstantsSource, SimulationConstants } from "./constants.ts";

/** A GPU to simulate on. */
export interface Gpu {
  readonly format: "mpk-machine";
  readonly version: 1;
  readonly name: string;
  /** Of its constants; `origin` says from what. */
  readonly source: ConstantsSource;
  readonly origin: string;
  /** What code is made for, such as `sm_90a`. */
  readonly target: string;
  readonly machine: Machine;
  readonly constants: SimulationConstants;
}

/** Best read bandwidth of an H200 over its data sheet's: what others are taken to reach too. */
const reachedShare = 4.607 / 4.8;
/** Boost clock of an H200's SMs (data sheet). */
const h200Gigahertz = 1.98;

/** Costs that are instructions of one SM, which go with its clock; the rest is memory's. */
const clocked = [
  "chunkNanos", "stageNanos", "prologueNanos", "epilogueNanos", "stateNanos", "stateCopyNanos",
  "stepNanos",
] as const satisfies readonly (keyof SimulationConstants)[];

/** From data sheets: the H200's costs, those of instructions by the clock. Nothing was measured there. */
function published(machine: Machine, target: string, gigahertz: number): Gpu {
  const slower = h200Gigahertz / gigahertz;
  const scaled = Object.fromEntries(clocked.map((key) => [key, h200Constants[key] * slower]));
  return Object.freeze({
    format: "mpk-machine", version: 1, name: machine.name, source: "published", target, machine,
    origin: `data sheet: ${machine.sms} SMs, ${gigahertz} GHz boost, ` +
      `${machine.readBytesPerSecond / 1e12} TB/s; latencies are the H200's, instructions by the clock; ` +
      "nothing was measured",
    constants: Object.freeze({
      ...h200Constants, ...scaled, streamShare: h200Constants.streamShare * reachedShare,
    }),
  });
}

export const gpus = Object.freeze({
  h200: Object.freeze({
    format: "mpk-machine", version: 1, name: "h200", source: "measured", target: "sm_90a",
    machine: machines.h200,
    origin: "read bandwidth measured; costs fitted to step times measured on H200s " +
      "(docs/performance.md)",
    constants: h200Constants,
  }),
  h100: published(machines.h100, "sm_90", 1.98),
  a100: published(machines.a100, "sm_80", 1.41),
  b200: published(machines.b200, "sm_100", 1.965),
  rtx5090: published(machines.rtx5090, "sm_120", 2.407),
} as const satisfies Record<string, Gpu>);

/** Costs that files of older versions do not have. */
const laterCosts = [
  "handOffSpreadNanos", "copySpreadNanos", "stageNanos", "stateCopyNanos",
] as const satisfies readonly (keyof SimulationConstants)[];

/** Longest time that a cost may be; rates are bytes per nanosecond, at most so many. */
const mostNanos = 1e9;
const mostRate = 1e9;

/** A GPU from the text of its file. Throws `PlanFormatError` naming the field that is wrong. */
export function readGpu(text: string): Gpu {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new PlanFormatError(`a machine is JSON text: ${(error as Error).message}`);
  }
  const root = new Reader(json, "machine");
  root.at("format").literal("mpk-machine");
  root.at("version").literal(1);
  const source = sources.find((one) => one === root.at("source").text());
  if (source === undefined) root.at("source").fail(sources.join(", "));
  const costs = root.at("constants");
  const constants = Object.fromEntries(costNames.map((key) => {
    const [least, most] = key === "streamShare"
      ? [0.01, 1]
      : key.endsWith("PerNano") ? [1e-6, mostRate] : [0, mostNanos];
    const read = (entry: Reader): number => entry.numberBetween(least, most);
    const isLater = (laterCosts as readonly string[]).includes(key);
    return [key, isLater ? costs.at(key).optional(read) ?? 0 : read(costs.at(key))] as const;
  }));
  return Object.freeze({
    format: "mpk-machine", version: 1, source: source ?? "estimated",
    name: root.at("name").text(),
    origin: root.at("origin").text(),
    target: root.at("target").text(),
    machine: Object.freeze(readMachine(root.at("machine"), 1)),
    constants: Object.freeze(constants as unknown as SimulationConstants),
  });
}

/** The text of a GPU's file. */
export const saveGpu = (gpu: Gpu): string => `${JSON.stringify(gpu, null, 2)}\n`;

/** A GPU by name. Throws `PlanError` with the names there are. */
export function findGpu(name: string): Gpu {
  const known: Readonly<Record<string, Gpu>> = gpus;
  const found = Object.hasOwn(known, name) ? known[name] : undefined;
  if (found !== undefined) return found;
  throw new PlanError(`no machine ${name}; known are ${Object.keys(gpus).join(", ")}`);
}
