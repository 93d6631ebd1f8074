/** @file Steps on GPUs that need not be here: predicted, with what kept them from the floor. */
export { contextUpTo, gpuNamed, planSetting, simulateSetting, sourceNamed, titleNamed } from "./model.ts";
export type { Setting, SimulatedStep } from "./model.ts";
export { parseWhatIf, whatIfForms, whatIfsFor, type WhatIf } from "./whatif.ts";
export { lossCauses, lossesOf, type Loss, type LossCause } from "./losses.ts";
export { profileOf } from "./profile.ts";
