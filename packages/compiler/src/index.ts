/** @file Public surface: compile(), open(), and what the command line shows. */
export * from "./compile.ts";
export * from "./counterexample.ts";
export * from "./doctor.ts";
export * from "./files.ts";
export * from "./inspect.ts";
export * from "./load.ts";
export * from "./machine.ts";
export * from "./open.ts";
export type { AttentionChoice } from "./passes.ts";
export * from "./report.ts";
export * from "./bench/index.ts";
export * from "./profile/index.ts";
export * from "./simulate/index.ts";
export * from "./view/index.ts";
export * from "./tune/index.ts";
export type { Plan, VerifyReport, LawReport, Violation } from "@mpk/schedule";
export type { Gpu } from "@mpk/schedule";
export { gpus, saveCounterexample, saveGpu, savePlan } from "@mpk/schedule";
