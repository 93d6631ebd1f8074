/** @file Public surface of the scheduler. */
export * from "./contracts.ts";
export * from "./plan.ts";
export * from "./errors.ts";
export { machines, virtual } from "./machines.ts";
export { plan } from "./planner/index.ts";
export type { PlanOptions } from "./planner/index.ts";
export type { Assignment } from "./planner/assign.ts";
export { sharedReserveBytes } from "./planner/ring.ts";
export * from "./packing.ts";
export { structureProblems } from "./structure.ts";
export { verify } from "./verify/index.ts";
export { lawNames } from "./verify/report.ts";
export type { LawName, LawReport, VerifyReport, Violation } from "./verify/report.ts";
export { createVirtualGpu } from "./virtual/index.ts";
export type { RunRequest, RunStep, VirtualGpu, VirtualGpuOptions } from "./virtual/index.ts";
export { VirtualGpuError } from "./virtual/errors.ts";
export type { HangReport } from "./virtual/errors.ts";
