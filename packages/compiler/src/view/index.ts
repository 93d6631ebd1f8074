/** @file What the viewer shows: a plan with its runs, predicted and measured. */
export { viewModel, type ViewOptions } from "./model.ts";
export { markNames, runOf, viewData, type ViewData, type ViewOp, type ViewRun } from "./data.ts";
export type { Packed } from "./pack.ts";
export { requireSamePlan } from "./same.ts";
