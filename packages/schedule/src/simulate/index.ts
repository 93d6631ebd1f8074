/** @file Public surface of the simulator. */
export { farness, h200Constants } from "./constants.ts";
export type { ConstantsSource, SimulationConstants } from "./constants.ts";
export type { TaskTimes } from "./clock.ts";
export { idleCauses, simulate, simulatorOf } from "./simulate.ts";
export type { IdleCause, Simulation, SimulationOptions } from "./simulate.ts";
export type { Recording } from "./recording.ts";
export { findGpu, gpus, readGpu, saveGpu } from "./gpus.ts";
export type { Gpu } from "./gpus.ts";
