/** @file Long runs and planted faults: does it stay right? */
export {
  faultsOf, mostFaultSeconds, showFault, type Fault, type FaultResult,
} from "./faults.ts";
export { growthOf, mostGrowth, type MemoryGrowth, type MemorySample } from "./memory.ts";
export { buildFaults, openWithFault } from "./open.ts";
export { repeat, type RepeatRequest, type RepeatResult } from "./repeat.ts";
export { requestOf, type Ending, type RandomRequest } from "./requests.ts";
export { compareSamples, mostError, soakPart, type SoakRequest } from "./soak.ts";
export { newState, parseSoakState, readSoakState, type SoakSample, type SoakState } from "./state.ts";
